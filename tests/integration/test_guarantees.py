"""Workers with another guarantee than their group's, on a real Kafka: refused while the group has members."""

from collections.abc import Iterator

import pytest

from tests.integration.rigs.lane_rig import Rig, make_listens, open_rig

pytestmark = [pytest.mark.broker, pytest.mark.slow]
GUARANTEES = ("exactly_once", "at_least_once")


@pytest.fixture
def rig(kafka, make_topics, tmp_path) -> Iterator[Rig]:
    yield from open_rig(kafka, make_topics, tmp_path, session_ms=3_000)


@pytest.mark.parametrize(("first", "second"), [GUARANTEES, GUARANTEES[::-1]], ids=GUARANTEES)
def test_worker_with_another_guarantee_is_refused_until_all_others_are_gone(rig, first, second):
    rig.guarantee = first
    with rig.listening(seed=31):
        worker = rig.start_worker("a")
        rig.wait_progress(500, "the first worker folds")
        rig.guarantee = second
        other = rig.start_worker("b")
        assert other.wait(60) not in (0, -9), rig.logs()
        rig.workers.remove(other)
        assert "expected workers with the lane.guarantee of this one" in rig.log("b")
        rig.wait_progress(500, "the first worker goes on")
    rig.wait_drained()
    assert rig.stop(worker) == 0

    # With the first one's tables: the guarantee belongs to the group, not to the tables.
    for name, guarantee in (("a", second), ("b", first)):
        rig.guarantee = guarantee
        worker = rig.start_worker(name)
        rig.produce(make_listens(600, users=40, seed=32))
        rig.wait_drained()
        assert rig.stop(worker) == 0
    rig.assert_exactly_once("b")
