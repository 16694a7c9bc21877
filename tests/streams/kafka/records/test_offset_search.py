"""A consumer that asks where a partition begins finds the new leader of one that has moved."""

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import (
    KafkaConnectionError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.offset import OffsetResponse_v1

from sidestream.streams.kafka.records import offset_search

PLACE = TopicPartition("live-segments", 3)


class Brokers:
    """Node 3 answers for a partition that node 2 leads; who leads is known once it was asked for."""

    def __init__(self, error):
        self.error, self.leader, self.lookups = error, 3, 0

    async def send(self, node_id, request):
        if node_id == 2:
            return OffsetResponse_v1([(PLACE.topic, [(PLACE.partition, 0, -1, 42)])])
        if self.error is KafkaConnectionError:
            raise self.error
        return OffsetResponse_v1([(PLACE.topic, [(PLACE.partition, self.error.errno, -1, -1)])])

    def force_metadata_update(self):
        self.leader, self.lookups = 2, self.lookups + 1


def asked(error):
    brokers = Brokers(error)
    fetcher = SimpleNamespace(_client=brokers, _isolation_level=0)
    fetcher.ask = Fetcher._proc_offset_request.__get__(fetcher)
    return fetcher, brokers


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(Fetcher, "_proc_offset_request", Fetcher._proc_offset_request)
    offset_search.install()
    offset_search.install()


@pytest.mark.parametrize(
    "error",
    [NotLeaderForPartitionError, LeaderNotAvailableError, UnknownTopicOrPartitionError],
)
async def test_the_leader_is_looked_up_after_an_answer_that_another_broker_leads(error):
    """It was looked up when the metadata were five minutes old; nothing was read until then."""
    fetcher, brokers = asked(error)
    with pytest.raises(error):
        await fetcher.ask(brokers.leader, {PLACE.topic: [(PLACE.partition, -2)]})
    assert brokers.lookups == 1
    assert (await fetcher.ask(brokers.leader, {PLACE.topic: [(PLACE.partition, -2)]}))[PLACE] == (42, -1)


async def test_what_says_nothing_of_leaders_looks_nothing_up():
    fetcher, brokers = asked(TopicAuthorizationFailedError)
    with pytest.raises(TopicAuthorizationFailedError):
        await fetcher.ask(brokers.leader, {PLACE.topic: [(PLACE.partition, -2)]})
    assert brokers.lookups == 0
