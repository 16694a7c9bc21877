"""A thread that ends the process when nothing else can: loop blocked, shutdown stuck, work waiting and none done.

It leaves by `os._exit`, without asking anybody, and says why in one line on standard error; where nothing was done, or
not stopped, lines before it say what waits where. That is safe by design: nothing of a shutdown is needed except its
speed. A worker without work never ends, also while Kafka is away: its
clients connect again.

| exit code | why |
|---|---|
| 0 | told to stop (SIGTERM, SIGHUP, SIGINT), and stopped |
| 1 | could not start: settings, topics, artifacts or Kafka must be put right first |
| 70 | crashed, or fenced by another worker: start it again |
| 71 | told to stop, and did not within `worker.watchdog.shutdown_s` |
| 72 | event loop blocked for `worker.watchdog.loop_blocked_s` |
| 73 | work waited and none was done for `worker.watchdog.no_progress_s` |

Time in which this thread itself did not run (a paused process, a sleeping machine) is not counted. A call into native
code that keeps the interpreter's lock stops this thread too: then `/livez` does not answer either.
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
# A step of the clock longer than this is time in which the process was not run.
_LONGEST_STEP_S = 4 * TICK_S
_FRAMES_SHOWN = 3


class ExitCode(IntEnum):
    """How a worker ends; the operator's manual is the table above."""

    OK = 0
    NOT_STARTED = 1
    CRASHED = 70
    SHUTDOWN_TOO_LONG = 71
    LOOP_BLOCKED = 72
    NO_PROGRESS = 73


@dataclass(slots=True)
class _Watched:
    """One part: its last work and for how long it has not moved."""

    work: Work
    still_s: float = 0.0


class Watchdog:
    """Judges from a thread what the event loop reports with `beat`.

    Args:
        settings: Limits.
        no_progress_s: Limit for work that waits, in seconds.
        is_ending: Whether a shutdown has begun; must be safe to call from a thread.
        crash_reason: Why the worker crashed, none if it did not; must be safe to call from a thread.
        leave: Ends the process with a code, at once.
        waits: Says in lines where the tasks of the loop wait; must be safe to call from a thread.
        say: Prints one line, without any lock that a stuck thread may hold.
        seconds: Monotonic clock.
    """

    def __init__(
        self,
        settings: WatchdogSettings,
        no_progress_s: float,
        is_ending: Callable[[], bool],
        crash_reason: Callable[[], BaseException | None],
        leave: Callable[[int], None] = os._exit,
        waits: Callable[[], Iterable[str]] = tuple,
        say: Callable[[str], None] | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._no_progress_s = no_progress_s
        self._is_ending = is_ending
        self._crash_reason = crash_reason
        self._leave, self._waits = leave, waits
        self._say = say or _to_stderr
        self._seconds = seconds
        self._limits_s: dict[str, float] = {}
        self._reported: Mapping[str, Work] = {}
        self._watched: dict[str, _Watched] = {}
        self._beats = self._seen_beats = 0
        self._silent_s = self._ending_s = 0.0
        self._checked_at_s = 0.0
        self._reasons: list[str] = []
        self._has_spoken = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def limit(self, part: str, seconds: float) -> None:
        """Give one part a limit of its own.

        Args:
            part: Its name in `beat`.
            seconds: For how long its work may wait.
        """
        self._limits_s[part] = seconds

    def start(self) -> None:
        """Begin to watch; the loop must beat from now on."""
        self._checked_at_s = self._seconds()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer: the worker has ended in order."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def beat(self, works: Mapping[str, Work]) -> None:
        """Report from the event loop: it runs, and this is what its parts have to do.

        Args:
            works: By name of the part.
        """
        self._reported = works
        self._beats += 1

    def not_alive(self) -> list[str]:
        """Say what may soon end the worker: from half of a limit on."""
        return self._reasons

    def check(self) -> None:
        """Look once; called by the thread at every tick."""
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
                known.still_s += step_s

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
        # The end of a shutdown is a closed loop, which is silent for good reason.
        if self._ending_s or self._silent_s < limit_s / 2:
            return []
        why = f"event loop blocked for {self._silent_s:.1f} s (limit {limit_s:g} s), the main thread is {_place()}"
        return [(self._silent_s / limit_s, ExitCode.LOOP_BLOCKED, why)]

    def _on_work(self, crash: BaseException | None) -> list[tuple[float, ExitCode, str]]:
        verdicts = []
        for name, watched in self._watched.items():
            limit_s = self._limits_s.get(name, self._no_progress_s)
            if watched.still_s >= limit_s / 2:
                why = (
                    f"{name}: {watched.work.waiting:,} waiting and none done for {watched.still_s:.1f} s "
                    f"(limit {limit_s:g} s)"
                )
                code = ExitCode.NO_PROGRESS
                if crash is not None:
                    code, why = ExitCode.CRASHED, f"{_in_one_line(crash)}; {why}"
                verdicts.append((watched.still_s / limit_s, code, why))
        return verdicts

    def _end(self, code: ExitCode, why: str) -> None:
        if not self._has_spoken:
            self._has_spoken = True
            if code in (ExitCode.NO_PROGRESS, ExitCode.SHUTDOWN_TOO_LONG):
                for place in self._waits():
                    self._say(f"sidestream worker: watchdog: waits: {place}")
            self._say(f"sidestream worker: watchdog: {why}; exit code {int(code)} ({code.name.lower()})")
        if self._settings.exits:
            self._leave(int(code))


def _to_stderr(line: str) -> None:
    # Neither logging nor sys.stderr: whoever is stuck may hold their locks.
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
