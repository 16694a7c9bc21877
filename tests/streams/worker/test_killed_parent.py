"""Workers that a command started end with it, also when it is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sidestream.streams.broker.probe import free_ports
from sidestream.streams.running.births import birth
from sidestream.streams.running.workers import worker_registry

DEADLINE_S = 60.0
PARENTS = {
    "fleet": "Fleet([flags], write=lambda line: None).run()",
    "process": "started = WorkerProcess(flags, Path('worker.log'))",
}
SCRIPT = """
import json, signal, sys
from pathlib import Path
from sidestream.streams.worker.fleet import Fleet
from sidestream.streams.worker.process import WorkerProcess
flags = json.loads(sys.argv[1])
{}
signal.pause()
"""


def until(condition, parent):
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert parent.poll() in (None, -signal.SIGKILL), parent.stdout.read()
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("parent", PARENTS)
def test_a_worker_ends_with_its_killed_parent(tmp_path, request, parent):
    (port,) = free_ports(1)
    flags = {"web.port": port, "kafka.bootstrap": "127.0.0.1:1", "worker.broker_wait_s": 600.0}
    command = [sys.executable, "-c", SCRIPT.format(PARENTS[parent]), json.dumps(flags)]
    env = os.environ | {"PYTHONPATH": str(request.config.rootpath)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        worker = None
        try:
            (worker,) = until(worker_registry().running, process)
            process.kill()
            until(lambda: not birth(worker.pid), process)
        finally:
            process.kill()
            if worker is not None and birth(worker.pid) == worker.birth:
                os.kill(worker.pid, signal.SIGKILL)
    # It ended in order: it has removed its entry itself.
    assert list(worker_registry().folder.glob("*.json")) == []
