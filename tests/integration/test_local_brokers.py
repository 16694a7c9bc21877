"""Local brokers and their workers as a user runs them: found from other folders, and stopped with their command."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.broker.process import end
from sidestream.streams.running.births import birth
from sidestream.streams.running.brokers import broker_registry
from sidestream.streams.running.workers import worker_registry

pytestmark = pytest.mark.broker
DEADLINE_S = 90.0


@pytest.fixture(autouse=True)
def _importable(monkeypatch, request, kafka_jars):
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))


def command(*args):
    return [sys.executable, "-m", "sidestream.streams.cli.main", "--set", "broker.port=0", *args]


def sidestream(*args, cwd):
    cwd.mkdir(exist_ok=True)
    return subprocess.run(command(*args), cwd=cwd, capture_output=True, text=True, check=False)


@contextmanager
def running(*args, cwd: Path):
    """A command that runs until SIGTERM; killed if it does not end."""
    cwd.mkdir()
    with (cwd / "out.log").open("wb") as out, subprocess.Popen(command(*args), cwd=cwd, stdout=out, stderr=out) as made:
        try:
            yield made
        finally:
            made.kill()
            for broker in broker_registry().running():
                end(broker.pid, "kafka.Kafka", 10.0)


def wait_until(condition, process, folder):
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        output = (folder / "out.log").read_text()[-2_000:]
        assert process is None or process.poll() is None, output
        assert time.monotonic() < deadline, output
        time.sleep(0.05)
    return found


def is_ready(worker):
    try:
        with urllib.request.urlopen(f"{worker.url}/readyz", timeout=5) as answer:  # noqa: S310 - loopback
            return answer.status == 200
    except OSError:
        return False


def require_gone(brokers):
    """The broker is in no registry, and its process has ended."""
    assert broker_registry().running() == []
    assert worker_registry().running() == []
    assert brokers
    assert [birth(broker.pid) for broker in brokers] == [""] * len(brokers)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGHUP, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_broker_in_the_foreground_ends_with_its_command(tmp_path, number):
    with running("broker", "start", "--foreground", "--name", "radio", cwd=tmp_path / "a") as process:
        (broker,) = wait_until(broker_registry().running, process, tmp_path / "a")
        assert broker.name == "radio"
        status = json.loads(sidestream("broker", "status", "--json", cwd=tmp_path / "b").stdout)
        assert (status["name"], status["bootstrap"], status["is_running"]) == ("radio", broker.bootstrap, True)
        assert [one["name"] for one in status["brokers"]] == ["radio"]
        process.send_signal(number)
        process.wait(30)
    require_gone([broker])


def test_a_broker_is_stopped_by_its_name_from_any_folder(tmp_path):
    started = json.loads(sidestream("broker", "start", "--json", cwd=tmp_path / "radio").stdout)
    try:
        assert started["name"] == "radio"
        refused = sidestream("broker", "stop", cwd=tmp_path / "b")
        assert "no local broker was running in this folder; running: radio" in refused.stderr
        assert sidestream("broker", "status", "--broker", "tv", cwd=tmp_path / "b").returncode == 1
        assert sidestream("topics", "create", "--broker", "radio", cwd=tmp_path / "b").returncode == 0
    finally:
        stopped = sidestream("broker", "stop", "radio", cwd=tmp_path / "b")
    assert "stopped radio" in stopped.stderr
    assert broker_registry().running() == []


@pytest.mark.slow
def test_two_workers_are_reached_from_another_folder_and_end_with_a_closed_terminal(tmp_path):
    (port,) = free_ports(1)
    with running("--set", f"web.port={port}", "up", "--workers", "2", cwd=tmp_path / "a") as process:
        folder, other = tmp_path / "a", tmp_path / "b"
        workers = wait_until(lambda: len(found := worker_registry().running()) == 2 and found, process, folder)
        wait_until(lambda: all(map(is_ready, workers)), process, folder)
        assert {worker.instance for worker in workers} == {1, 2}
        users = [f"user-{number}" for number in range(4)]
        listens = "\n".join(json.dumps({"user_id": user, "item_id": "i"}) for user in users)
        sent = subprocess.run(
            command("send", "listen", "-"), cwd=other_made(other), input=listens, capture_output=True, text=True
        )
        assert sent.returncode == 0, sent.stderr
        for user in users:  # on both workers, as their partitions fall
            ask = lambda user=user: sidestream("state", "get", user, "--json", cwd=other)  # noqa: E731
            found = wait_until(lambda ask=ask: (done := ask()).returncode == 0 and done, process, folder)
            assert json.loads(found.stdout)["listens_folded"] == 1
        brokers = broker_registry().running()
        process.send_signal(signal.SIGHUP)
        process.wait(60)
    output = (tmp_path / "a" / "out.log").read_text()
    assert "worker 1 | " in output
    assert "worker 2 | " in output
    require_gone(brokers)


def other_made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_the_demo_stops_its_broker_and_worker(tmp_path, number):
    with running("demo", cwd=tmp_path / "a") as process:
        wait_until(worker_registry().running, process, tmp_path / "a")
        brokers = broker_registry().running()
        assert [broker.name for broker in brokers] == ["demo"]
        process.send_signal(number)
        process.wait(60)
    require_gone(brokers)
