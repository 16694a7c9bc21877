"""Replays on the embedded broker, which does not isolate transactions: records first, then their mark."""

import pytest

from sidestream.streams.broker.embedded import EmbeddedBroker
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.operate.deadletters import DeadLetterReader, Replayer, Selection


async def test_a_letter_is_replayed_once_without_transactions() -> None:
    pytest.importorskip("confluent_kafka")
    topics = build_topics(TopicSettings(user_partitions=2))
    with EmbeddedBroker() as broker:
        broker.create(list(topics))
        clients = Clients(KafkaSettings(bootstrap=broker.bootstrap, kind="embedded"))
        ours = {"topic": topics.listens.name, "partition": "1", "offset": "5", "timestamp": "9", "reason": "not_json"}
        ours |= {"exception": "BadRecord", "message": "no"}
        headers = [("h", b"1"), *((f"__streams.errors.{name}", text.encode()) for name, text in ours.items())]
        producer = clients.producer()
        producer.send(topics.listens.dead_letters, key=b"u", value=b"{", headers=headers, partition=0)
        producer.send(topics.listens.dead_letters, key=b"u", value=b"not ours", partition=0)
        producer.flush(10)
        producer.close()

        replayer = Replayer(clients, DeadLetterReader(clients, topics))
        done = await replayer.replay(Selection())
        assert (done.replayed.total(), dict(done.skipped), done.exactly_once) == (1, {"foreign": 1}, False)
        again = await replayer.replay(Selection())
        assert (again.replayed.total(), again.before) == (0, 1)
        (record,) = read_topic(clients, topics.listens.name)
        assert (record.partition, record.key, record.value) == (1, b"u", b"{")
        assert record.headers == (("h", b"1"), ("x-attempt", b"2"))
