"""Counts of listens by item on a real Kafka: equal to counting the log, even after crashes and rebalances."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from sidestream.streams.broker import RunningBroker
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.errors import BadRecord
from sidestream.streams.popularity.values import CountedPart, part_key, read_key, split_by_part
from sidestream.tokenizer.popularity import Counts, merge_counts
from sidestream.tokenizer.sid import item_key
from tests.integration.rigs.lane_rig import Rig, make_listens, open_rig, wait_until
from tests.integration.rigs.lane_worker import POPULARITY

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


def test_a_worker_that_is_told_to_stop_leaves_nothing_to_count_again(rig):
    rig.produce(make_listens(2_000, users=40, seed=5))
    worker = rig.start_worker("a")
    wait_until(lambda: rig.committed_unharmed() >= 300, 40, "some listens")
    assert rig.stop(worker) == 0
    rig.start_worker("b")
    rig.wait_drained()
    rig.wait_counted()
    assert "counts resumed" not in rig.log("b")


def test_counts_of_an_older_release_are_carried_over(rig):
    """Also while a worker that does not know the new topics is in the group, and leads it."""
    rig.produce(make_listens(1_000, users=40, seed=5))
    older = rig.start_worker("older", counts=False)
    rig.wait_drained()
    publish_older_form(rig)
    rig.start_worker("new")
    wait_until(lambda: "Setting newly assigned" in rig.log("new"), 30, "the new worker has joined")
    rig.produce(make_listens(1_000, users=40, seed=6))
    wait_until(lambda: len(rig.published_counts()) > 100, 30, "the new worker adds up while the older one is there")
    assert rig.stop(older) == 0
    rig.wait_drained()
    rig.wait_counted()
    marks = {record.key for record in rig.read_all(rig.topics.item_counts.name) if record.value is not None}
    removed = {record.key for record in rig.read_all(rig.topics.item_counts.name) if record.value is None}
    assert {key for key in marks if read_key(key)[1] is not None} == removed


def publish_older_form(rig: Rig) -> None:
    """Write counts of all listens so far as releases before the changes did: some parts ahead of the mark."""
    decay, topic = POPULARITY.decay, rig.topics.item_counts.name
    records: dict[int, dict[bytes, bytes]] = {}
    listens = rig.read_all(rig.topics.listens.name)
    for partition in range(rig.topics.listens.partitions):
        mine = [record for record in listens if record.partition == partition]
        mark, end = mine[len(mine) // 2].offset, mine[-1].offset + 1
        counted = {}
        for part, _ in split_by_part(counts_of(mine, end)):
            offset = end if part % 3 else mark
            found = dict(split_by_part(counts_of(mine, offset))).get(part, Counts.empty())
            counted[part_key(partition, part)] = CountedPart(decay.half_life_ms, offset, found).to_bytes()
        counted[part_key(partition, None)] = CountedPart(decay.half_life_ms, mark, Counts.empty()).to_bytes()
        records[partition] = counted

    async def publish() -> None:
        producer = rig.clients.async_producer(max_batch_bytes=65_536)
        await producer.start()
        for partition, values in records.items():
            sent = [await producer.send(topic, value, key, partition) for key, value in values.items()]
            await asyncio.gather(*sent)
        await producer.stop()

    asyncio.run(publish())


def counts_of(records, end: int) -> Counts:
    """Count the listens before an offset, one at a time."""
    one, steps = np.array([1]), []
    for record in records:
        if record.offset >= end:
            break
        try:
            listen = decode_listen(record.key, record.value, record.timestamp)
        except BadRecord:
            continue
        key = np.array([item_key(listen.item_id)], np.uint64)
        steps.append(Counts.from_step(listen.at // POPULARITY.decay.step_ms, key, one))
    return merge_counts(steps)
