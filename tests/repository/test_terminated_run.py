"""A test run that is told to end tears its fixtures down: the Kafka that it started ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
LONG = """
import time
from pathlib import Path
import pytest

HERE = Path(__file__).parent

@pytest.fixture(scope="session")
def kafka():
    (HERE / "up").touch()
    yield
    (HERE / "down").touch()

def test_long(kafka):
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_run_tears_its_fixtures_down(tmp_path, number):
    (tmp_path / "test_long.py").write_text(LONG)
    options = ["-q", "-p", "tests.conftest", "-c", os.devnull, "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_long.py")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not (tmp_path / "up").exists():
                assert run.poll() is None, run.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            run.send_signal(number)
            output, _ = run.communicate(timeout=DEADLINE_S)
        finally:
            run.kill()
    assert (tmp_path / "down").exists(), output
