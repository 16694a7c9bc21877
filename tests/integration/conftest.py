"""Fixtures of the integration tests besides the common Kafka: one that may be killed, and the table of failures."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestream.streams.broker import BrokerSettings, RunningBroker, local, start_broker
from sidestream.streams.broker.jars import ensure_jars, require_kafka
from sidestream.streams.broker.probe import free_ports
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BrokerError
from tests.integration.rigs.failure_rig import FAULTY, SHORT, Limits, make_own_topics
from tests.integration.rigs.session_rig import Rig
from tests.integration.rigs.three_brokers import ThreeBrokers


class MortalKafka:
    """A separate Kafka that can be killed and restarted at the same address with the same data."""

    def __init__(self, data_dir: Path) -> None:
        (port,) = free_ports(1)
        self.settings = BrokerSettings(kind="kafka", port=port, data_dir=data_dir)
        self.broker: RunningBroker = start_broker(self.settings)

    @property
    def kafka(self):
        return self.broker.kafka

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    def make_topics(self) -> Topics:
        return make_own_topics(self.broker, "own-")

    def kill(self) -> None:
        """Kill it, as a crash would."""
        node = local.find(self.settings)
        os.kill(node.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while node.is_running:
            assert time.monotonic() < deadline, "Kafka survived SIGKILL"
            time.sleep(0.02)

    def restart(self) -> None:
        """Restart it."""
        self.broker = start_broker(self.settings)


@pytest.fixture
def kafka_jars() -> None:
    """Skips if no Apache Kafka can be started."""
    settings = BrokerSettings(kind="kafka")
    try:
        require_kafka(settings)
        ensure_jars(settings)
    except BrokerError as error:
        pytest.skip(f"no Apache Kafka for tests: {error}")


@pytest.fixture
def mortal_kafka(tmp_path: Path, kafka_jars: None) -> Iterator[MortalKafka]:
    """A Kafka for a single test, which may kill it."""
    mortal = MortalKafka(tmp_path / "kafka")
    yield mortal
    mortal.broker.stop()


@pytest.fixture
def brokers(tmp_path: Path, kafka_jars: None) -> Iterator[ThreeBrokers]:
    """A Kafka of three nodes for a single test, which may stop, kill and pause them."""
    made = ThreeBrokers(tmp_path / "brokers")
    yield made
    made.stop()


@pytest.fixture(params=[SHORT, pytest.param(Limits(), marks=pytest.mark.slow)], ids=["short", "default"])
def limits(request):
    return request.param


@pytest.fixture
def make_rig(tmp_path, limits):
    rigs = []

    def make(broker, topics, **flags):
        folder = tmp_path / f"rig{len(rigs)}"
        folder.mkdir()
        rig = Rig(broker, topics, folder, **{**limits.flags(), **flags})
        rig.script = FAULTY
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig, kafka, make_topics):
    return lambda **flags: make_rig(kafka, make_topics(), **flags)


@pytest.fixture
def failure(request: pytest.FixtureRequest, record_property):
    """Notes a row of the failure table: `failure(what, outcome, seconds, limit_s)`; fails beyond the limit."""

    def note(what: str, outcome: str, seconds: float, limit_s: float) -> None:
        record_property("failure", (what, outcome, round(seconds, 1), limit_s))
        assert seconds <= limit_s, f"{what}: {outcome} after {seconds:.1f} s, expected within {limit_s:g} s"

    return note


def pytest_terminal_summary(terminalreporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    rows = [row for report in reports for name, row in getattr(report, "user_properties", []) if name == "failure"]
    if rows:
        terminalreporter.section("failures and how they end")
        for what, outcome, seconds, limit_s in rows:
            terminalreporter.write_line(f"{what:<58} {outcome:<24} {seconds:>6.1f} s  (limit {limit_s:g} s)")
