"""The watchdog's decisions with a fake clock, and its thread in a process that is really stuck."""

import subprocess
import sys
import textwrap

import pytest

from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.streams.worker.settings import WatchdogSettings
from sidestream.streams.worker.watch.watchdog import ExitCode, Watchdog

LIMIT_S = 30.0


class Rig:
    """A worker as the watchdog sees it; `run` lets time pass."""

    def __init__(self, **settings):
        self.now_s, self.ending, self.crash = 100.0, False, None
        self.codes, self.lines, self.works = [], [], {}
        self.beats, self.waits = True, ()
        self.dog = Watchdog(
            WatchdogSettings(**settings),
            LIMIT_S,
            is_ending=lambda: self.ending,
            crash_reason=lambda: self.crash,
            exit_process=self.codes.append,
            waits=lambda: self.waits,
            print_line=self.lines.append,
            seconds=lambda: self.now_s,
        )
        self.dog._checked_at_s = self.now_s

    def run(self, seconds):
        """Returns after how many seconds it terminated the process, None if it did not."""
        passed = 0.0
        while passed < seconds:
            if self.beats:
                self.dog.beat(dict(self.works))
            self.now_s += 0.25
            passed += 0.25
            self.dog.check()
            if self.codes:
                return passed
        return None


@pytest.fixture
def rig():
    return Rig()


def test_a_healthy_worker_is_never_terminated(rig):
    for number in range(400):
        rig.works = {"lane": Work(5, number), "idle": IDLE}
        assert rig.run(1) is None
    assert rig.dog.not_alive() == []


def test_waiting_tasks_are_printed_before_the_reason(rig):
    rig.waits = ("open (lane.py:7)", "2 x read (feed.py:9)")
    rig.works = {"listens": Work(7, "same")}
    rig.run(60)
    begin = "sidestream worker: watchdog: "
    assert rig.lines[:2] == [f"{begin}waits: open (lane.py:7)", f"{begin}waits: 2 x read (feed.py:9)"]
    assert len(rig.lines) == 3
    assert "7 waiting" in rig.lines[2]


def test_a_blocked_loop_prints_the_main_thread_only(rig):
    rig.waits, rig.beats = ("open (lane.py:7)",), False
    rig.run(60)
    (line,) = rig.lines
    assert "event loop blocked" in line


def test_an_idle_worker_is_never_terminated(rig):
    rig.works = {"lane": Work(0, "same")}
    assert rig.run(3_600) is None


def test_waiting_work_without_progress_ends_the_worker_at_the_limit(rig):
    rig.works = {"listens": Work(7, "same")}
    assert rig.run(60) == pytest.approx(LIMIT_S, abs=1)
    assert rig.codes == [ExitCode.NO_PROGRESS]
    assert rig.lines == [
        "sidestream worker: watchdog: listens: 7 waiting and none done for 30.0 s (limit 30 s); "
        "exit code 73 (no_progress)"
    ]


def test_more_waiting_work_is_not_progress(rig):
    for number in range(29):
        rig.works = {"listens": Work(number + 1, "same")}
        assert rig.run(1) is None
    assert rig.run(3) is not None


def test_time_is_counted_from_the_last_progress_not_from_the_last_idleness(rig):
    rig.works = {"listens": Work(7, 1)}
    rig.run(20)
    rig.works = {"listens": Work(7, 2)}
    assert rig.run(29) is None
    rig.works = {"listens": Work(0, 2)}
    rig.run(1)
    rig.works = {"listens": Work(1, 2)}
    assert rig.run(29) is None


def test_a_part_may_have_a_separate_limit(rig):
    rig.dog.limit("group", 60)
    rig.works = {"group": Work(1, 0)}
    assert rig.run(100) == pytest.approx(60, abs=1)


def test_half_of_a_limit_is_shown_on_livez(rig):
    rig.works = {"listens": Work(7, "same")}
    rig.run(14)
    assert rig.dog.not_alive() == []
    rig.run(3)
    (reason,) = rig.dog.not_alive()
    assert "listens: 7 waiting" in reason
    rig.works = {"listens": Work(7, "other")}
    rig.run(1)
    assert rig.dog.not_alive() == []


def test_a_silent_loop_ends_the_worker(rig):
    rig.beats = False
    assert rig.run(60) == pytest.approx(20, abs=1)
    assert rig.codes == [ExitCode.LOOP_BLOCKED]
    (line,) = rig.lines
    assert "event loop blocked for 20" in line


def test_a_shutdown_that_takes_too_long_is_terminated_even_with_a_closed_loop(rig):
    rig.run(5)
    rig.ending, rig.beats = True, False
    assert rig.run(60) == pytest.approx(15, abs=1)
    assert rig.codes == [ExitCode.SHUTDOWN_TOO_LONG]


def test_a_crash_whose_shutdown_hangs_keeps_its_code_and_reason(rig):
    rig.ending, rig.crash = True, RuntimeError("fenced\nby another")
    assert rig.run(60) == pytest.approx(15, abs=1)
    assert rig.codes == [ExitCode.CRASHED]
    assert "watchdog: fenced by another; its shutdown takes 15" in rig.lines[0]


def test_stalled_work_gets_no_second_limit_after_a_late_crash(rig):
    rig.works = {"listens": Work(7, "same")}
    rig.run(29)
    rig.ending, rig.crash = True, RuntimeError("request timed out")
    assert rig.run(60) <= 2
    assert rig.codes == [ExitCode.CRASHED]


def test_time_in_which_the_process_was_paused_is_not_counted(rig):
    rig.works = {"listens": Work(7, "same")}
    rig.run(10)
    rig.now_s += 600
    assert rig.run(15) is None


def test_without_exits_it_reports_once_and_continues():
    rig = Rig(exits=False)
    rig.beats = False
    assert rig.run(60) is None
    assert len(rig.lines) == 1
    assert "event loop blocked" in rig.dog.not_alive()[0]


def test_a_part_that_is_no_longer_reported_is_forgotten(rig):
    rig.works = {"listens": Work(7, "same")}
    rig.run(20)
    rig.works = {}
    assert rig.run(40) is None


SCRIPT = """
    import sys, threading, time
    from sidestream.streams.worker.settings import WatchdogSettings
    from sidestream.streams.worker.watch.watchdog import Watchdog

    settings = WatchdogSettings(loop_blocked_s=2.0)
    dog = Watchdog(settings, 5.0, is_ending=lambda: False, crash_reason=lambda: None)
    dog.start()
    dog.beat({})
    {stuck}
"""


@pytest.mark.parametrize(
    "stuck",
    ["time.sleep(60)", "import atexit; atexit.register(time.sleep, 60)"],
)
def test_the_thread_terminates_a_stuck_process_with_one_line(stuck):
    script = textwrap.dedent(SCRIPT).replace("{stuck}", stuck)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == ExitCode.LOOP_BLOCKED
    (line,) = ended.stderr.splitlines()
    assert "main thread is in <module> (<string>:" in line or "atexit" in stuck
    assert line.endswith("exit code 72 (loop_blocked)")
