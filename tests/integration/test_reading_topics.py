"""Topics read to their end and followed on a real Kafka: transactions, compaction, retention, growth, broker loss."""

import asyncio
import contextlib
import time

import pytest
from kafka import TopicPartition

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.read_rules import Place
from sidestream.streams.kafka.reading import read_to_end
from sidestream.streams.kafka.tail import read_record, read_topic

pytestmark = pytest.mark.broker

DEADLINE_S = 60.0
# Segments of 100 ms, compacted as soon as the cleaner looks.
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "100",
}


def make_topic(clients, name, partitions, config=None) -> None:
    admin = KafkaTopicAdmin(clients)
    admin.create([TopicSpec(name, "key", None, partitions, False, config or {})], 1)
    admin.close()


@contextlib.asynccontextmanager
async def producing(clients, **options):
    producer = clients.async_producer(**options)
    await producer.start()
    yield producer
    await producer.stop()


async def send(producer, topic, partition, values) -> None:
    for value in values:
        await producer.send_and_wait(topic, value, key=b"k", partition=partition)


def blocking(clients, topic, **options):
    with BlockingFollower(clients, {topic: None}, restarts=False, **options) as follower:
        return values_of(follower.to_end())


def values_of(batches) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for place, records in batches:
        found.setdefault(place.partition, []).extend(record.value for record in records)
    return found


async def test_transactions_and_empty_partitions(kafka, topic_prefix):
    clients, topic = Clients(kafka.kafka), topic_prefix() + "read"
    make_topic(clients, topic, 3)
    async with producing(clients, transactional_id=topic) as producer:
        async with producer.transaction():
            await send(producer, topic, 0, [b"1", b"2"])
        # Two ends that no record is at: an aborted transaction, and in partition 1 nothing but one.
        await producer.begin_transaction()
        await send(producer, topic, 0, [b"no", b"no"])
        await send(producer, topic, 1, [b"no"])
        await producer.abort_transaction()
        async with asyncio.timeout(DEADLINE_S):
            committed = [batch async for batch in read_to_end(clients, topic, range(3))]
            assert values_of(committed) == {0: [b"1", b"2"]}
            open_too = [batch async for batch in read_to_end(clients, topic, range(3), read_committed=False)]
            assert values_of(open_too) == {0: [b"1", b"2", b"no", b"no"], 1: [b"no"]}
            assert await asyncio.to_thread(blocking, clients, topic) == {0: [b"1", b"2"]}
            # An open transaction hides what other producers send behind it, and is not waited for.
            await producer.begin_transaction()
            await send(producer, topic, 0, [b"open"])
            async with producing(clients) as other:
                await send(other, topic, 0, [b"behind"])
            again = [batch async for batch in read_to_end(clients, topic, range(3))]
            assert values_of(again) == {0: [b"1", b"2"]}
            assert await asyncio.to_thread(blocking, clients, topic) == {0: [b"1", b"2"]}
            await producer.commit_transaction()
            async with Follower(clients, {topic: [0]}, restarts=False) as follower:
                assert follower.bounds[Place(topic, 0)] == (0, 9)
                assert values_of([batch async for batch in follower.to_end()])[0][2:] == [b"open", b"behind"]
    assert (await asyncio.to_thread(read_record, clients, topic, 0, 1)).value == b"2"
    assert await asyncio.to_thread(read_record, clients, topic, 0, 3) is None, "aborted"


async def test_gaps_after_compaction(kafka, topic_prefix):
    clients, topic = Clients(kafka.kafka), topic_prefix() + "compacted"
    make_topic(clients, topic, 1, COMPACTED)
    deadline = time.monotonic() + DEADLINE_S
    async with producing(clients) as producer:
        number, records = 0, []
        while not 0 < len(records) < number:
            assert time.monotonic() < deadline, "no compaction"
            for _ in range(5):
                await send(producer, topic, 0, [b"%d" % number])
                number += 1
            reading = read_to_end(clients, topic, [0])
            records = [record async for _, batch in reading for record in batch]
    assert records[-1].value == b"%d" % (number - 1)
    assert len({record.offset for record in records}) == len(records)
    assert (await asyncio.to_thread(blocking, clients, topic))[0][-1] == records[-1].value


async def until(follower, count):
    """Poll until a number of records have arrived."""
    found = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            found += [record.value for _, records in await follower.poll(200) for record in records]
    return found


async def test_deleted_records_new_partitions_and_absent_topics(kafka, topic_prefix):
    clients, topic = Clients(kafka.kafka), topic_prefix() + "grows"
    with pytest.raises(TopicError, match=r"expected topic .*grows at .*, got none"):
        await Follower(clients, {topic: [0]}).open()
    with pytest.raises(TopicError, match=r"expected topic .*grows at .*, got none"):
        await asyncio.to_thread(list, read_topic(clients, topic))
    make_topic(clients, topic, 1)
    with pytest.raises(TopicError, match="grows/3, got no such partition of 1"):
        await Follower(clients, {topic: [0, 3]}).open()
    admin = clients.admin()
    async with producing(clients) as producer, Follower(clients, {topic: [0]}, grows=True) as follower:
        await send(producer, topic, 0, [b"%d" % number for number in range(4)])
        assert len(await until(follower, 4)) == 4
        # As if they were deleted before they are read: the follower is at offset 0, and the log starts at 3.
        await asyncio.to_thread(admin.delete_records, {TopicPartition(topic, 0): 3})
        follower.seek({Place(topic, 0): 0})
        assert await until(follower, 1) == [b"3"]
        await asyncio.to_thread(admin.create_partitions, {topic: 2})
        # Asked for at once, where the client itself looks every 5 minutes.
        async with asyncio.timeout(DEADLINE_S):
            while len(follower._consumer.partitions_for_topic(topic)) < 2:
                await follower._consumer._client.force_metadata_update()
        async with producing(clients) as other:
            await send(other, topic, 1, [b"new"])
            await send(other, topic, 0, [b"4"])
        assert sorted(await until(follower, 2)) == [b"4", b"new"]
    admin.close()


@pytest.mark.slow
async def test_following_continues_after_a_broker_restart(mortal_kafka):
    clients = Clients(mortal_kafka.kafka)
    make_topic(clients, "t", 1)
    async with Follower(clients, {"t": [0]}) as follower:
        async with producing(clients) as producer:
            await send(producer, "t", 0, [b"before"])
        assert await until(follower, 1) == [b"before"]
        await asyncio.to_thread(mortal_kafka.kill)
        assert await follower.poll(500) == []
        await asyncio.to_thread(mortal_kafka.restart)
        async with producing(clients) as producer:
            await send(producer, "t", 0, [b"after"])
        assert await until(follower, 1) == [b"after"]
