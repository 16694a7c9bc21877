"""Several workers run and stop together."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from sidestream.streams.runtime import termination
from sidestream.streams.worker import fleet
from sidestream.streams.worker.fleet import Fleet

WORKER = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(sys.argv[2])))
print("up", flush=True)
if sys.argv[1] != "wait":
    sys.exit(int(sys.argv[1]))
signal.pause()
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Runs stand-ins for workers: each waits, or ends with its code once all are up; gives code and output."""
    monkeypatch.setattr(fleet, "ignore_signals", lambda: None)

    def run(*workers: tuple[str, int], on_up=lambda made: None, timeout_s: float = 20.0):
        commands = iter([sys.executable, "-c", WORKER, how, str(end)] for how, end in workers)
        monkeypatch.setattr(fleet, "worker_command", lambda flags, config: (next(commands), os.environ))
        lines: list[str] = []

        def write(line: str) -> None:
            lines.append(line)
            if sum(each.endswith("| up") for each in lines) == len(workers) and line.endswith("| up"):
                on_up(made)

        made = Fleet([{} for _ in workers], stop_timeout_s=timeout_s, write=write)
        code = made.run()
        assert all(child.returncode is not None for child in made._children)
        return code, lines

    return run


def test_a_failure_stops_all_workers_and_gives_the_exit_code(run) -> None:
    code, lines = run(("wait", 0), ("72", 0))
    assert code == 72
    assert "worker 1 | up" in lines
    assert "worker 2 ended with code 72: stopping the others" in lines


def test_a_killed_worker_counts_as_a_failure(run) -> None:
    code, lines = run(("wait", 0), ("wait", 0), on_up=lambda made: made._children[1].kill())
    assert code == 128 + signal.SIGKILL
    assert "worker 2 ended with signal SIGKILL: stopping the others" in lines


def test_a_worker_that_stops_normally_leaves_the_others_running(run) -> None:
    def end_one_after_the_other(made) -> None:
        made._children[0].terminate()
        threading.Thread(target=lambda: (made._children[0].wait(), made._children[1].terminate())).start()

    code, lines = run(("wait", 0), ("wait", 0), on_up=end_one_after_the_other)
    assert code == 0
    assert {"worker 1 stopped", "worker 2 stopped"} <= set(lines)


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, 71), 1)])
def test_ctrl_c_stops_all_workers(run, codes, expected) -> None:
    code, _ = run(*(("wait", code) for code in codes), on_up=lambda made: os.kill(os.getpid(), signal.SIGINT))
    assert code == expected


PROGRAM = """
import os, sys
from sidestream.streams.runtime import termination
from sidestream.streams.worker import fleet

termination.install_handlers()
commands = iter([sys.executable, "-c", sys.argv[1], "wait", code] for code in sys.argv[2:])
fleet.worker_command = lambda flags, config: (next(commands), os.environ)
termination.exit_process(fleet.Fleet([{} for _ in sys.argv[2:]]).run())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(("codes", "expected"), [(("0", "0"), 0), (("0", "71"), 1)])
def test_a_signal_stops_all_workers_and_the_exit_code_is_the_fleets(number, codes, expected) -> None:
    command = [sys.executable, "-c", PROGRAM, WORKER, *codes]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for _ in codes:
            assert process.stderr.readline().endswith("| up\n")
        process.send_signal(number)
        assert process.wait(60) == expected


def test_stopping_a_fleet_cannot_be_interrupted() -> None:
    assert fleet.ignore_signals is termination.ignore_signals


def test_json_lines_stay_json_and_say_which_worker_wrote_them() -> None:
    line = '{"event": "jürgen \\u001b", "level": "info"}'
    assert json.loads(fleet._marked(2, line)) == {"worker_number": 2, **json.loads(line)}
    assert fleet._marked(2, "{no json") == "worker 2 | {no json"
    assert fleet._marked(1, "up") == "worker 1 | up"
