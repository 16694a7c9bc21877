"""A dead-letter topic that rejects writes: each lane stops before the bad record, and continues once it can write."""

import asyncio

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from sidestream.streams.contracts.deadletters import NULL_VALUE_HEADER, OFFSET_HEADER, PARTITION_HEADER, TOPIC_HEADER
from sidestream.streams.kafka.clients import Clients
from tests.integration.rigs.lane_rig import Rig as LaneRig
from tests.integration.rigs.lane_rig import make_listens
from tests.integration.rigs.session_rig import Rig as WorkerRig
from tests.integration.rigs.session_rig import wait_until

pytestmark = pytest.mark.broker
# Below every dead letter, which has more in its headers; above a transaction's end marker (78), which the broker must
# be able to write or the transaction hangs until it is restarted.
TOO_FEW_BYTES = 200


def limit_bytes(clients: Clients, topic: str, limit: int) -> None:
    """A topic that accepts only records up to a size."""
    admin = clients.admin()
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(limit)})])
    finally:
        admin.close()


def committed(clients: Clients, group: str, topic: str) -> int:
    """Sum of a group's committed offsets."""
    consumer = clients.consumer(group_id=group)
    try:
        tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        return sum(consumer.committed(tp) or 0 for tp in tps)
    finally:
        consumer.close()


@pytest.fixture
def lane(kafka, make_topics, tmp_path):
    topics = make_topics(user_partitions=2)
    rig = LaneRig(kafka.kafka, topics, topics.listens.name.removesuffix("listen-events.v1"), tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def worker(kafka, make_topics, tmp_path):
    rig = WorkerRig(kafka, make_topics(), tmp_path, **{"kafka.request_timeout_ms": 4_000})
    yield rig
    rig.close()


@pytest.mark.slow
def test_listens_stop_and_nothing_is_lost(lane):
    dlq = lane.topics.listens.dead_letters
    limit_bytes(lane.clients, dlq, TOO_FEW_BYTES)
    lane.produce(make_listens(400, users=20, seed=4))
    stopped = lane.start_worker()
    assert stopped.wait(30) != 0
    _, bad = lane.expected()
    firsts = {p: min(r.offset for r, _ in bad if r.partition == p) for p in {r.partition for r, _ in bad}}
    assert lane.committed() <= sum(firsts.values())

    lane.workers.clear()
    limit_bytes(lane.clients, dlq, 1_310_720)
    alive = lane.start_worker()
    lane.wait_drained()
    assert lane.stop(alive) == 0
    dead = {
        (int(headers[PARTITION_HEADER]), int(headers[OFFSET_HEADER]))
        for letter in lane.read_all(dlq)
        if (headers := dict(letter.headers))
    }
    assert dead == {(record.partition, record.offset) for record, _ in bad}
    states, _ = lane.expected()
    assert lane.changelog() == lane.table() == states


def test_a_listen_with_neither_key_nor_value_stops_nothing(lane):
    async def send_empty() -> None:
        producer = lane.clients.async_producer()
        await producer.start()
        try:
            batch = producer.create_batch()  # `send` refuses such a record; other clients do not
            batch.append(key=None, value=None, timestamp=None)
            batch.close()
            await (await producer.send_batch(batch, lane.topics.listens.name, partition=0))
        finally:
            await producer.stop()

    asyncio.run(send_empty())
    lane.produced += 1
    lane.produce(make_listens(5, users=2, seed=1))
    alive = lane.start_worker()
    lane.wait_drained()
    assert lane.stop(alive) == 0
    (letter,) = lane.read_all(lane.topics.listens.dead_letters)
    assert (letter.key, letter.value, dict(letter.headers)[NULL_VALUE_HEADER]) == (None, b"", b"1")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sessions", pytest.param("catalogue", marks=pytest.mark.slow)])
def test_a_worker_stops_and_nothing_is_lost(worker, kind):
    topics = worker.topics
    source = topics.session_starts if kind == "sessions" else topics.catalog_items
    limit_bytes(worker.clients, source.dead_letters, TOO_FEW_BYTES)
    worker.item("i0").get(10)
    worker.start().ready()
    wait_until(lambda: worker.metric("sidestream_catalogue_items") == 1, what="the first item")
    group = worker.flags["worker.app_id"]
    wait_until(lambda: committed(worker.clients, group, topics.catalog_items.name) == 1, what="its commit")
    before = committed(worker.clients, group, source.name)
    worker.send(source, "bad", b"{broken").get(10)
    assert worker.process.wait(30) != 0
    assert source.dead_letters in worker.log.read_text()
    assert committed(worker.clients, group, source.name) == before

    limit_bytes(worker.clients, source.dead_letters, 1_310_720)
    worker.start().ready()
    letter = worker.letters(source.dead_letters, 1)[0]
    assert (letter.key, letter.value) == (b"bad", b"{broken")
    assert dict(letter.headers)[TOPIC_HEADER].decode() == source.name
    wait_until(lambda: committed(worker.clients, group, source.name) == before + 1, what="the commit after the letter")
    assert worker.end() == 0
