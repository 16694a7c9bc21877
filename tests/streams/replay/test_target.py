"""Where a log is played: told apart from another cluster, another prefix, and topics that were created anew."""

import time
from collections.abc import Callable

import pytest

from sidestream.streams.broker import RunningBroker
from sidestream.streams.broker.embedded import EmbeddedBroker
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics, create_topics
from sidestream.streams.errors import TopicError
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.replay.target import read_target


def test_the_same_topics_are_the_same_target(broker: RunningBroker, topics: Topics) -> None:
    first, second = (read_target(Clients(broker.kafka), topics) for _ in range(2))
    assert first.is_same(second)
    assert set(first.topics) == {topics.catalog_items.name, topics.listens.name, topics.session_starts.name}


@pytest.mark.broker
def test_topics_that_were_created_anew_are_another_target(kafka: RunningBroker, make_topics) -> None:
    topics, clients = make_topics(), Clients(kafka.kafka)
    before = read_target(clients, topics)
    admin = clients.admin()
    admin.delete_topics([topics.listens.name])
    admin.close()
    topic_admin = kafka.topic_admin()
    try:
        deadline = time.monotonic() + 30
        while topic_admin.describe([topics.listens.name]):
            assert time.monotonic() < deadline, "the topic is still there"
        create_topics(topic_admin, topics)
    finally:
        topic_admin.close()
    assert not before.is_same(read_target(clients, topics))


def test_each_start_of_an_embedded_broker_is_another_target() -> None:
    pytest.importorskip("confluent_kafka")
    topics, targets = build_topics(TopicSettings()), []
    for _ in range(2):
        with EmbeddedBroker() as broker:
            create_topics(broker, topics)
            targets.append(read_target(Clients(KafkaSettings(bootstrap=broker.bootstrap, kind="embedded")), topics))
    assert not targets[0].is_same(targets[1])


def test_missing_topics_are_told_before_anything_is_sent(
    broker: RunningBroker, topic_prefix: Callable[[], str]
) -> None:
    missing = build_topics(TopicSettings(prefix=topic_prefix()))
    with pytest.raises(TopicError, match=r"listen-events\.v1.*topics create"):
        read_target(Clients(broker.kafka), missing)
