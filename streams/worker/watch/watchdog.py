"""A thread that terminates the process when nothing else can: loop blocked, shutdown stuck, or work without progress.

It calls `os._exit` directly and gives the reason in one line on standard error; without progress, or when the shutdown
is stuck, the lines before it show where tasks are waiting. That is safe by design: correctness never depends on an
orderly shutdown, which only makes restarts faster. Nothing counts as waiting work while Kafka is away: the clients
reconnect, and a new process could not do more.

| exit code | why |
|---|---|
| 0 | stopped after SIGTERM, SIGHUP or SIGINT |
| 1 | could not start: settings, topics, artifacts or Kafka must be corrected first |
| 70 | crashed, or fenced by another worker: restart it |
| 71 | a signal asked it to stop, and it did not within `worker.watchdog.shutdown_s` |
| 72 | event loop blocked for `worker.watchdog.loop_blocked_s` |
| 73 | work waited without progress for `worker.watchdog.no_progress_s` |

Time in which this thread itself did not run (a paused process, a sleeping machine) is not counted. A call into native
code that holds the interpreter lock stops this thread too: then `/livez` does not answer either.
"""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from sidestream.streams.runtime.progress import Work
from sidestream.streams.worker.settings import WatchdogSettings

TICK_S = 0.25
# A longer step of the clock means that the process was not running.
_LONGEST_STEP_S = 4 * TICK_S
_FRAMES_SHOWN = 3


class ExitCode(IntEnum):
    """Exit codes of a worker; the table above says what to do about each."""

    OK = 0
    NOT_STARTED = 1
    CRASHED = 70
    SHUTDOWN_TOO_LONG = 71
    LOOP_BLOCKED = 72
    NO_PROGRESS = 73


@dataclass(slots=True)
class _Watched:
    """One part: its last work, and for how long there was no progress."""

    work: Work
    stalled_s: float = 0.0


class Watchdog:
    """Checks, in a thread, what the event loop reports with `beat`.

    Args:
        settings: Limits.
        no_progress_s: How long work may wait without progress.
        is_ending: Whether a shutdown has begun; must be safe to call from a thread.
        crash_reason: Why the worker crashed, `None` if it did not; must be safe to call from a thread.
        exit_process: Terminates the process with a code, at once.
        waits: Returns lines that show where the tasks of the loop wait; must be safe to call from a thread.
        print_line: Prints one line, without any lock that a stuck thread may hold.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        settings: WatchdogSettings,
        no_progress_s: float,
        is_ending: Callable[[], bool],
        crash_reason: Callable[[], BaseException | None],
        exit_process: Callable[[int], None] = os._exit,
        waits: Callable[[], Iterable[str]] = tuple,
        print_line: Callable[[str], None] | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._no_progress_s = no_progress_s
        self._is_ending = is_ending
        self._crash_reason = crash_reason
        self._exit_process, self._waits = exit_process, waits
        self._print_line = print_line or _to_stderr
        self._seconds = seconds
        self._limits_s: dict[str, float] = {}
        self._reported: Mapping[str, Work] = {}
        self._watched: dict[str, _Watched] = {}
        self._beats = self._seen_beats = 0
        self._silent_s = self._ending_s = 0.0
        self._checked_at_s = 0.0
        self._reasons: list[str] = []
        self._has_reported = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def limit(self, part: str, seconds: float) -> None:
        """Set a separate limit for one part.

        Args:
            part: Its name in `beat`.
            seconds: How long its work may wait.
        """
        self._limits_s[part] = seconds

    def start(self) -> None:
        """Start to watch; the loop must call `beat` from now on."""
        self._checked_at_s = self._seconds()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching, after the worker has ended normally."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def beat(self, works: Mapping[str, Work]) -> None:
        """Report from the event loop that it runs, and the work of its parts by name."""
        self._reported = works
        self._beats += 1

    def not_alive(self) -> list[str]:
        """Return what may soon terminate the worker, once half of a limit has passed."""
        return self._reasons

    def check(self) -> None:
        """Check once; called by the thread at every tick."""
        now_s = self._seconds()
        step_s, self._checked_at_s = min(now_s - self._checked_at_s, _LONGEST_STEP_S), now_s
        self._silent_s = 0.0 if self._beats != self._seen_beats else self._silent_s + step_s
        self._seen_beats = self._beats
        self._ending_s = self._ending_s + step_s if self._is_ending() else 0.0
        self._measure(step_s)
        crash = self._crash_reason()
        verdicts = [*self._on_shutdown(crash), *self._on_loop(), *self._on_work(crash)]
        self._reasons = [why for _, _, why in verdicts]
        for share, code, why in verdicts:
            if share >= 1.0:
                self._end(code, why)
                return

    def _watch(self) -> None:
        while not self._closed.wait(TICK_S):
            self.check()

    def _measure(self, step_s: float) -> None:
        works = self._reported
        for name in self._watched.keys() - works.keys():
            del self._watched[name]
        for name, work in works.items():
            known = self._watched.get(name)
            if known is None or not work.waiting or work.done != known.work.done:
                self._watched[name] = _Watched(work)
            else:
                known.work = work
                known.stalled_s += step_s

    def _on_shutdown(self, crash: BaseException | None) -> list[tuple[float, ExitCode, str]]:
        limit_s = self._settings.shutdown_s
        if self._ending_s < limit_s / 2:
            return []
        why = f"shutdown takes {self._ending_s:.1f} s (limit {limit_s:g} s), the main thread is {_place()}"
        if crash is None:
            return [(self._ending_s / limit_s, ExitCode.SHUTDOWN_TOO_LONG, why)]
        return [(self._ending_s / limit_s, ExitCode.CRASHED, f"{_in_one_line(crash)}; its {why}")]

    def _on_loop(self) -> list[tuple[float, ExitCode, str]]:
        limit_s = self._settings.loop_blocked_s
        # At the end of a shutdown the loop is closed and cannot beat.
        if self._ending_s or self._silent_s < limit_s / 2:
            return []
        why = f"event loop blocked for {self._silent_s:.1f} s (limit {limit_s:g} s), the main thread is {_place()}"
        return [(self._silent_s / limit_s, ExitCode.LOOP_BLOCKED, why)]

    def _on_work(self, crash: BaseException | None) -> list[tuple[float, ExitCode, str]]:
        verdicts = []
        for name, watched in self._watched.items():
            limit_s = self._limits_s.get(name, self._no_progress_s)
            if watched.stalled_s >= limit_s / 2:
                why = (
                    f"{name}: {watched.work.waiting:,} waiting and none done for {watched.stalled_s:.1f} s "
                    f"(limit {limit_s:g} s)"
                )
                code = ExitCode.NO_PROGRESS
                if crash is not None:
                    code, why = ExitCode.CRASHED, f"{_in_one_line(crash)}; {why}"
                verdicts.append((watched.stalled_s / limit_s, code, why))
        return verdicts

    def _end(self, code: ExitCode, why: str) -> None:
        if not self._has_reported:
            self._has_reported = True
            if code in (ExitCode.NO_PROGRESS, ExitCode.SHUTDOWN_TOO_LONG):
                for place in self._waits():
                    self._print_line(f"sidestream worker: watchdog: waits: {place}")
            self._print_line(f"sidestream worker: watchdog: {why}; exit code {int(code)} ({code.name.lower()})")
        if self._settings.exits:
            self._exit_process(int(code))


def _to_stderr(line: str) -> None:
    # Neither logging nor sys.stderr: a stuck thread may hold their locks.
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="replace"))


def _place() -> str:
    """Name the innermost calls of the main thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "gone"
    calls = traceback.extract_stack(frame)[-_FRAMES_SHOWN:]
    return "in " + " > ".join(f"{call.name} ({Path(call.filename).name}:{call.lineno})" for call in calls)


def _in_one_line(reason: BaseException) -> str:
    return " ".join((str(reason) or repr(reason)).split())
