"""Processes are recognised by their command line, stopped by SIGTERM, then SIGKILL, and never confused with others."""

import os
import sys
import threading
from pathlib import Path

from sidestream.streams.broker.process import command_line, end, exclusive, is_running, spawn

SLEEPER = "import sys, time; print('up', flush=True); time.sleep(120)"
STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(120)"
)


def started(tmp_path: Path, code: str, mark: str) -> int:
    log = tmp_path / "out.log"
    pid = spawn([sys.executable, "-c", code, mark], log)
    wait_for(lambda: log.exists() and "up" in log.read_text())
    return pid


def wait_for(condition) -> None:
    stop = threading.Event()
    for _ in range(1_000):
        if condition():
            return
        stop.wait(0.01)
    raise AssertionError("the condition did not come true within 10 s")


def test_spawn_leads_its_own_session_and_is_known_at_once(tmp_path: Path) -> None:
    pid = spawn([sys.executable, "-c", SLEEPER, "mark-a"], tmp_path / "out.log")
    assert is_running(pid, "mark-a")
    assert os.getsid(pid) == pid
    assert end(pid, "mark-a", timeout_s=10)
    assert not is_running(pid, "mark-a")
    assert command_line(pid) == ""


def test_in_a_folder_of_its_own_it_is_the_program_itself_that_is_known_at_once(tmp_path: Path) -> None:
    """While the shell that changes the folder becomes the program, there is no command line for a moment."""
    pid = spawn([sys.executable, "-c", SLEEPER, "mark-d"], tmp_path / "out.log", cwd=tmp_path)
    assert command_line(pid).startswith(sys.executable)
    assert Path(f"/proc/{pid}/cwd").resolve() == tmp_path or not Path("/proc/self").exists()
    assert end(pid, "mark-d", timeout_s=10)


def test_spawn_of_a_program_that_ends_at_once_is_not_running(tmp_path: Path) -> None:
    pid = spawn([sys.executable, "-c", "pass", "mark-b"], tmp_path / "out.log")
    wait_for(lambda: not is_running(pid, "mark-b"))


def test_end_kills_a_process_that_ignores_sigterm(tmp_path: Path) -> None:
    pid = started(tmp_path, STUBBORN, "mark-c")
    assert not end(pid, "mark-c", timeout_s=0.3)
    assert not is_running(pid, "mark-c")


def test_end_leaves_another_process_with_a_reused_number_alone(tmp_path: Path) -> None:
    pid = started(tmp_path, SLEEPER, "stranger")
    assert end(pid, "kafka.Kafka", timeout_s=1)
    assert is_running(pid, "stranger")
    assert end(pid, "stranger", timeout_s=10)
    assert not is_running(0, "")


def test_exclusive_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def enter() -> None:
        nonlocal inside, most
        for _ in range(20):
            with exclusive(tmp_path / "lock"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
