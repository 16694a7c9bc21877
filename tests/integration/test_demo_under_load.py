"""`sidestream demo --once` on a real Kafka beside six busy processes: late answers, but no broken promise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidestream.streams.broker import BrokerSettings
from sidestream.streams.broker.jars import ensure_jars, require_kafka
from sidestream.streams.errors import BrokerError

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
NUM_BUSY = 6


@pytest.fixture
def busy_machine():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(NUM_BUSY)]
    yield
    for process in busy:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("busy_machine")
def test_the_demo_keeps_its_promises_beside_six_busy_processes(tmp_path):
    try:
        require_kafka(BrokerSettings())
        ensure_jars(BrokerSettings())
    except BrokerError as error:
        pytest.skip(f"no Apache Kafka for tests: {error}")
    command = [sys.executable, "-m", "sidestream.streams.cli.entry", "--set", "broker.kind=kafka", "demo", "--once"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["broker"] == "kafka"
    assert (summary["answered_share"], summary["invalid_candidates"], summary["unjudged_sets"]) == (1.0, 0, 0)
    if summary["fallback_reasons"].keys() & {"overload", "deadline"}:
        assert "answers came from the popularity list" in " ".join(done.stderr.split())
