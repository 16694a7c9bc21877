"""Brokers of both kinds, and topics on them, for tests that must pass on each."""

from collections.abc import Callable, Iterator

import pytest

from sidestream.streams.broker import BrokerSettings, RunningBroker, start_broker
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import Topics, build_topics, create_topics


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    pytest.importorskip("confluent_kafka")
    broker = start_broker(BrokerSettings(kind="embedded", data_dir=tmp_path_factory.mktemp("embedded")))
    yield broker
    broker.stop()


@pytest.fixture(params=[pytest.param("kafka", marks=pytest.mark.broker), "embedded"])
def broker(request: pytest.FixtureRequest) -> RunningBroker:
    return request.getfixturevalue(request.param)


@pytest.fixture
def topics(broker: RunningBroker, topic_prefix: Callable[[], str]) -> Topics:
    made = build_topics(TopicSettings(prefix=topic_prefix(), user_partitions=3))
    admin = broker.topic_admin()
    create_topics(admin, made)
    admin.close()
    return made
