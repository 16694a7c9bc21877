"""The listen lane in a Faust worker, on a real Kafka: state equals the pure fold, even after crashes and rebalances."""

import shutil
from collections.abc import Iterator

import pytest

from sidestream.streams.broker import RunningBroker
from sidestream.streams.contracts.deadletters import OFFSET_HEADER, PARTITION_HEADER, REASON_HEADER, TOPIC_HEADER
from tests.integration.rigs.lane_rig import Rig, make_listens, open_rig, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def rig(kafka: RunningBroker, make_topics, tmp_path) -> Iterator[Rig]:
    yield from open_rig(kafka, make_topics, tmp_path)


def test_table_and_changelog_equal_the_fold_and_bad_records_are_dead_letters(rig):
    records = make_listens(6_000, users=60, seed=1)
    rig.produce(records)
    worker = rig.start_worker()
    rig.wait_drained()
    rig.wait_counted()
    assert rig.stop(worker) == 0
    rig.assert_exactly_once("a")

    _, bad = rig.expected()
    assert len(bad) == 3 * len(records) // 50
    dead = rig.read_all(rig.topics.listens.name + ".dlq")
    found = {
        (int(h[PARTITION_HEADER]), int(h[OFFSET_HEADER])): (h, letter) for letter in dead if (h := dict(letter.headers))
    }
    assert set(found) == {(record.partition, record.offset) for record, _ in bad}
    for record, error in bad:
        headers, letter = found[record.partition, record.offset]
        assert headers[REASON_HEADER].decode() == error.reason
        assert headers[TOPIC_HEADER].decode() == rig.topics.listens.name
        assert (letter.key, letter.value) == (record.key, record.value)


@pytest.mark.slow
def test_state_equals_the_fold_after_kills_without_transactions(rig):
    rig.guarantee = "at_least_once"
    with rig.listening(seed=2):
        worker = rig.start_worker()
        rig.wait_progress(1_000, "first listens")
        rig.kill(worker)
        worker = rig.start_worker()
        rig.wait_progress(1_000, "after the first kill")
        rig.kill(worker)
        shutil.rmtree(rig.data_dir("a"))
        worker = rig.start_worker()
        rig.wait_progress(1_000, "after the second kill")
    rig.wait_drained()
    assert rig.stop(worker) == 0
    states, bad = rig.expected()
    assert rig.table("a") == rig.changelog() == states
    assert set(rig.dead_letters()) == {(record.partition, record.offset) for record, _ in bad}


@pytest.mark.slow
def test_state_equals_the_fold_when_workers_join_and_leave(rig):
    with rig.listening(seed=3):
        first = rig.start_worker("a")
        rig.wait_progress(500, "first worker alone")
        second = rig.start_worker("b")
        wait_until(lambda: "Setting newly assigned" in rig.log("b"), 30, "second worker joined")
        rig.wait_progress(1_000, "both workers")
        assert rig.stop(first) == 0
        rig.wait_progress(1_000, "second worker alone")
        # It has old partitions on its disk: they are brought up to date from the changelog.
        rebalances = rig.log("b").count("Setting newly assigned")
        rig.start_worker("a")
        wait_until(lambda: rig.log("b").count("Setting newly assigned") > rebalances, 30, "first worker joined again")
        assert rig.stop(second) == 0
        rig.wait_progress(1_000, "first worker alone again")
    rig.wait_drained()
    assert rig.stop(rig.workers[-1]) == 0
    rig.assert_exactly_once("a")


@pytest.mark.slow
def test_worker_ends_with_an_error_when_the_lane_cannot_continue(rig):
    rig.produce(make_listens(100, users=10, seed=5))
    worker = rig.start_worker()
    rig.wait_drained()
    rig.stop(worker)
    # Damage is repaired; a file in place of a folder is never deleted.
    database = rig.data_dir("a") / "user-state" / rig.topics.listens.name / "0.db"
    shutil.rmtree(database)
    database.write_text("no")
    worker = rig.start_worker()
    assert worker.wait(20) != 0
    assert "cannot be opened" in rig.logs()
