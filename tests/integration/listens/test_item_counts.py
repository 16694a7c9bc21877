"""Counts of listens by item on a real Kafka: equal to counting the log, even after crashes and rebalances."""

from collections.abc import Iterator

import pytest

from sidestream.streams.broker import RunningBroker
from tests.integration.rigs.lane_rig import Rig, make_listens, open_rig, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def rig(kafka: RunningBroker, make_topics, tmp_path) -> Iterator[Rig]:
    yield from open_rig(kafka, make_topics, tmp_path, session_ms=3_000)


@pytest.mark.parametrize(
    ("guarantee", "point"),
    [("exactly_once", "committed"), ("exactly_once", "sent"), ("at_least_once", "written")],
)
def test_counts_equal_the_log_after_kills_and_are_published_without_new_listens(rig, guarantee, point):
    rig.guarantee = guarantee
    # At least thirty batches: a worker that has come late does not fold all listens before it is to be killed.
    rig.lane = {"max_batch_records": 100}
    rig.produce(make_listens(3_000, users=40, seed=5))
    for at in (4, 9):
        worker = rig.start_worker(fault={"point": point, "at": at, "action": "kill"})
        assert worker.wait(40) == -9
    rig.produce(make_listens(1_000, users=40, seed=6))
    worker = rig.start_worker()
    rig.wait_drained()
    # No more listens arrive: parts that are due are published nevertheless.
    rig.wait_counted()
    assert rig.stop(worker) == 0


def test_counts_equal_the_log_when_workers_join_and_leave(rig):
    with rig.listening(seed=7):
        first = rig.start_worker("a")
        rig.wait_progress(500, "first worker alone")
        rig.start_worker("b")
        wait_until(lambda: "Setting newly assigned" in rig.log("b"), 30, "second worker joined")
        rig.wait_progress(1_000, "both workers")
        rig.kill(first)
        rig.wait_progress(1_000, "second worker alone")
    rig.wait_drained()
    rig.wait_counted()
