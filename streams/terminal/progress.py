"""Progress of long work: stage, units done, rate and time left, in the same form everywhere.

On a terminal one line is redrawn; elsewhere a line is written every few seconds, so that the log of an hour stays
readable, and nothing is written for stages that end before that.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from sidestream.streams.terminal.screen import Screen
from sidestream.streams.terminal.width import shorten

REDRAW_S = 0.1
LINE_EVERY_S = 5.0
# The rate is measured over this window: the speed of work changes, and early rates do not predict the time left.
RATE_OVER_S = 30.0
# Over a shorter time, a rate is meaningless.
LEAST_RATE_S = 0.5
# Over a shorter time, a rate does not predict the time left.
LEAST_LEFT_S = 3.0


class Step(Protocol):
    """Called as long work goes on."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Say how far it is: units done, units in all (0: not known), and a note for people ("" leaves the last)."""
        ...


class ProgressLine:
    """A progress line.

    Args:
        screen: Screen to show it on.
        seconds: Monotonic clock in seconds.
    """

    def __init__(self, screen: Screen, seconds: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._seconds = seconds
        self._stage: str | None = None
        self._note = ""
        self._begun_s = self._shown_s = 0.0
        self._samples: deque[tuple[float, int]] = deque()
        self._done = self._total = self._first = 0

    def step(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report progress; may be called at any rate.

        Args:
            stage: Name of the stage; a new one ends the line of the last one.
            done: Units of the stage that are done.
            total: Units of the stage; 0 if unknown, 1 if the work has no units.
            note: Note for the user; "" keeps the last one.
        """
        now_s = self._seconds()
        is_new = stage != self._stage
        if is_new:
            self._finish()
            self._stage, self._begun_s, self._first, self._note = stage, now_s, done, ""
            self._shown_s = now_s
            self._samples.clear()
        self._note = note or self._note
        # The stage processes its input again, or has done its first units, which include its start (imports, warm-up).
        if done < self._done or (self._done == self._first and done > self._first):
            self._samples.clear()
        self._done, self._total = done, total
        if not self._samples or now_s - self._samples[-1][0] >= REDRAW_S:
            self._samples.append((now_s, done))
        while len(self._samples) > 2 and now_s - self._samples[0][0] > RATE_OVER_S:
            self._samples.popleft()
        can_redraw = self._screen.can_redraw
        if (is_new and can_redraw) or now_s - self._shown_s >= (REDRAW_S if can_redraw else LINE_EVERY_S):
            self._shown_s = now_s
            self._show(self._line(now_s))

    def close(self) -> None:
        """End the line of the last stage."""
        self._finish()
        self._stage = None

    def _show(self, line: str) -> None:
        if self._screen.can_redraw:
            # The last column stays empty: some terminals wrap as soon as it is written.
            self._screen.show_live(shorten(line, max(1, (self._screen.columns or 1 << 30) - 1), self._screen.ellipsis))
        else:
            self._screen.write(line)

    def _finish(self) -> None:
        if self._stage is None:
            return
        self._screen.show_live("")
        took_s = self._seconds() - self._begun_s
        if took_s < LINE_EVERY_S and not self._screen.can_redraw:
            return
        if self._counts and not self._done:  # an error says more of a stage that did nothing
            return
        parts = [f"{self._done:,} in {duration(took_s)}" if self._counts else duration(took_s)]
        if self._counts and took_s >= LEAST_RATE_S:
            parts.append(rate((self._done - self._first) / took_s))
        self._screen.write(self._joined(parts))

    def _line(self, now_s: float) -> str:
        if not self._counts:
            elapsed_s = now_s - self._begun_s
            return self._joined(["…" if elapsed_s < 1 else duration(elapsed_s)])
        parts = [f"{self._done:,} of {self._total:,}" if self._total else f"{self._done:,}"]
        since_s, before = self._samples[0]
        per_s = (self._done - before) / (now_s - since_s) if now_s - since_s >= LEAST_RATE_S else 0.0
        if per_s > 0:
            parts.append(rate(per_s))
            if self._total > self._done and now_s - since_s >= LEAST_LEFT_S:
                parts.append(f"{duration((self._total - self._done) / per_s)} left")
        return self._joined(parts)

    @property
    def _counts(self) -> bool:
        return self._total != 1

    def _joined(self, parts: list[str]) -> str:
        return self._screen.text("  ".join([self._stage or "", *parts, *([self._note] if self._note else [])]))


def duration(seconds: float) -> str:
    """Format a duration: `0.4 s`, `12 s`, `3:05` (minutes), `2:13:00` (hours)."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate(per_s: float) -> str:
    """Format a rate with three significant digits."""
    return f"{per_s:,.0f}/s" if per_s >= 100 else f"{per_s:.3g}/s"
