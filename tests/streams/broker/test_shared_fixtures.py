"""The shared Kafka of the tests: a record sent by one client library is read by the others."""

import pytest

from streams.broker import RunningBroker
from streams.connect import Clients

pytestmark = pytest.mark.broker


def test_kafka_fixture_makes_isolated_topics(kafka: RunningBroker, make_topics) -> None:
    first, second = make_topics(user_partitions=3), make_topics(user_partitions=2)
    admin = kafka.topic_admin()
    found = admin.describe([first.listens.name, second.listens.name])
    admin.close()
    assert [found[first.listens.name].partitions, found[second.listens.name].partitions] == [3, 2]


async def test_kafka_fixture_serves_aiokafka(kafka: RunningBroker, make_topics) -> None:
    topic = make_topics().listens.name
    clients = Clients(kafka.kafka)
    producer, consumer = clients.async_producer(), clients.async_consumer(topic, group_id=topic)
    await producer.start()
    await consumer.start()
    try:
        await producer.send_and_wait(topic, b"value", key=b"key")
        record = await consumer.getone()
        assert (record.key, record.value) == (b"key", b"value")
    finally:
        await consumer.stop()
        await producer.stop()
