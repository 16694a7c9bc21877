"""Clients of the factory work the same on a real Kafka and on the embedded broker."""

import asyncio
import time

import faust
import pytest
from kafka import TopicPartition
from kafka.errors import InvalidTimestampError

from sidestream.streams.broker import RunningBroker
from sidestream.streams.contracts.partitioner import PARTITIONERS, partition_of
from sidestream.streams.contracts.settings import PartitionerName
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.clients import Clients, KafkaSettings

DEADLINE_S = 30.0


def test_clients_need_an_address() -> None:
    with pytest.raises(SettingsError, match=r"kafka\.bootstrap"):
        Clients(KafkaSettings())


def test_fetch_wait_is_short_only_on_the_embedded_broker() -> None:
    assert Clients(KafkaSettings(bootstrap="h:1")).fetch_max_wait_ms == 500
    assert Clients(KafkaSettings(bootstrap="h:1", kind="embedded")).fetch_max_wait_ms == 10
    assert Clients(KafkaSettings(bootstrap="h:1", kind="embedded", fetch_max_wait_ms=3)).fetch_max_wait_ms == 3


async def test_all_consumers_name_their_rack() -> None:
    clients = Clients(KafkaSettings(bootstrap="127.0.0.1:1", client_rack="zone-a"))
    consumer = clients.async_consumer()
    assert consumer._client_rack == "zone-a"
    await consumer.stop()
    consumer = Clients(KafkaSettings(bootstrap="127.0.0.1:1")).async_consumer()
    assert consumer._client_rack is None
    await consumer.stop()


async def test_aiokafka_sends_reads_in_a_group_and_commits(broker: RunningBroker, topics: Topics) -> None:
    clients, topic = Clients(broker.kafka), topics.listens.name
    producer, consumer = clients.async_producer(), clients.async_consumer(topic, group_id=topic)
    await producer.start()
    await consumer.start()
    try:
        place = await producer.send_and_wait(topic, b"value", key=b"key", headers=[("h", b"1")])
        record = await asyncio.wait_for(consumer.getone(), DEADLINE_S)
        assert (record.key, record.value, record.headers) == (b"key", b"value", (("h", b"1"),))
        await consumer.commit()
        assert await consumer.committed(place.topic_partition) == 1
        waits_s = []
        for _ in range(5):
            sent_at = time.monotonic()
            await producer.send(topic, b"value", key=b"key")
            await asyncio.wait_for(consumer.getone(), DEADLINE_S)
            waits_s.append(time.monotonic() - sent_at)
        assert min(waits_s) < 0.25  # 0.5 s, the fetch wait, if it slept through new records
    finally:
        await consumer.stop()
        await producer.stop()


@pytest.mark.parametrize("partitioner", PARTITIONERS)
async def test_kafka_python_and_aiokafka_put_a_key_on_the_same_partition(
    broker: RunningBroker, topics: Topics, partitioner: PartitionerName
) -> None:
    clients, topic = Clients(broker.kafka), topics.candidates.name
    sync = clients.producer(partitioner=partitioner)
    producer = clients.async_producer(partitioner=partitioner)
    await producer.start()
    try:
        keys = [f"user-{number}".encode() for number in range(40)]
        theirs = [(await producer.send_and_wait(topic, b"v", key=key)).partition for key in keys]
        ours = [sync.send(topic, b"v", key=key).get(timeout=DEADLINE_S).partition for key in keys]
        assert ours == theirs == [partition_of(key, 3, partitioner) for key in keys]
        assert set(ours) == {0, 1, 2}
        assert sync.send(topic, b"v").get(timeout=DEADLINE_S).partition in {0, 1, 2}
        assert (await producer.send_and_wait(topic, b"v")).partition in {0, 1, 2}
    finally:
        sync.close()
        await producer.stop()


def test_kafka_refuses_records_of_a_producer_whose_clock_is_far_ahead(kafka: RunningBroker, make_topics) -> None:
    """By default an hour, since Kafka 4.0: what bounds how far ahead a listen can be dated."""
    producer, topic = Clients(kafka.kafka).producer(), make_topics().listens.name
    now_ms = time.time_ns() // 1_000_000
    try:
        producer.send(topic, b"v", key=b"k", timestamp_ms=now_ms + 3_000_000).get(timeout=DEADLINE_S)
        with pytest.raises(InvalidTimestampError):
            producer.send(topic, b"v", key=b"k", timestamp_ms=now_ms + 4_200_000).get(timeout=DEADLINE_S)
    finally:
        producer.close()


def test_kafka_python_reads_with_and_without_a_group(broker: RunningBroker, topics: Topics) -> None:
    clients, topic = Clients(broker.kafka), topics.session_starts.name
    producer = clients.producer(linger_ms=5)
    for number in range(30):
        producer.send(topic, b"%d" % number, key=b"%d" % number)
    producer.flush(timeout=DEADLINE_S)
    producer.close()
    alone = clients.consumer()
    alone.assign([TopicPartition(topic, number) for number in range(3)])
    for consumer in (alone, clients.consumer(topic, group_id=topic + "-group")):
        values: list[bytes] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(values) < 30 and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=200).values():
                values += [record.value for record in records]
        consumer.close()
        assert sorted(values) == sorted(b"%d" % number for number in range(30))


@pytest.mark.broker
async def test_open_and_aborted_transactions_are_hidden_on_a_real_kafka(kafka: RunningBroker, make_topics) -> None:
    topic = make_topics().user_state_changelog.name
    clients = Clients(kafka.kafka)
    producer, consumer = clients.async_producer(transactional_id=topic), clients.async_consumer(topic)
    await producer.start()
    await consumer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", key=b"k")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"kept", key=b"k")
        record = await asyncio.wait_for(consumer.getone(), DEADLINE_S)
        assert record.value == b"kept"
    finally:
        await consumer.stop()
        await producer.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
async def test_faust_joins_reads_and_sends(broker: RunningBroker, topics: Topics) -> None:
    clients = Clients(broker.kafka)
    app = faust.App(topics.listens.name, **clients.faust_options(), store="memory://", web_enabled=False)
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    source, target = app.topic(topics.listens.name, **raw), app.topic(topics.candidates.name, **raw)

    @app.agent(source)
    async def copy(stream) -> None:
        async for event in stream.events():
            await target.send(key=event.key, value=event.value)

    producer, consumer = clients.async_producer(), clients.async_consumer(topics.candidates.name)
    await app.start()
    try:
        await producer.start()
        await consumer.start()
        for number in range(10):
            await producer.send_and_wait(topics.listens.name, b"%d" % number, key=b"%d" % number)
        found = [(await asyncio.wait_for(consumer.getone(), DEADLINE_S)).value for _ in range(10)]
        assert sorted(found) == [b"%d" % number for number in range(10)]
    finally:
        await consumer.stop()
        await producer.stop()
        await app.stop()
