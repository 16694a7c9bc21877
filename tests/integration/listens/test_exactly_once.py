"""Exactly once on a real Kafka while the broker refuses transactions; kills and pauses are those of the crash bench."""

from collections.abc import Iterator

import pytest

from sidestream.streams.broker import RunningBroker
from tests.integration.rigs.lane_rig import Rig, open_rig, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def rig(kafka: RunningBroker, make_topics, tmp_path) -> Iterator[Rig]:
    yield from open_rig(kafka, make_topics, tmp_path, guarantee="exactly_once", session_ms=3_000)


def wait_fault(rig: Rig, name: str, action: str, times: int = 1) -> None:
    wait_until(lambda: rig.log(name).count(f"fault: {action}") == times, 40, f"{action} number {times} of {name}")


def test_refused_transactions_are_aborted_and_leave_no_trace(rig):
    with rig.listening(seed=24):
        worker = rig.start_worker(fault={"point": "offsets", "at": 3, "action": "refuse"})
        wait_fault(rig, "a", "refuse")
        rig.wait_progress(500, "after the abort")
    rig.produce_empty(2)
    rig.wait_drained()
    assert rig.stop(worker) == 0
    assert "transaction aborted, retrying" in rig.log("a")
    rig.assert_exactly_once("a")
