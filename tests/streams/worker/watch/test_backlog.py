"""The backlog asks for owned partitions, each leader by itself, and what does not answer is no waiting work."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.outages import Outages
from sidestream.streams.runtime.progress import Work
from sidestream.streams.worker.watch import backlog
from sidestream.streams.worker.watch.backlog import Backlog

TOPICS = build_topics(TopicSettings())
LISTENS, ITEMS = TOPICS.listens.name, TOPICS.catalog_items.name
LEADERS = {TP(LISTENS, 0): 1, TP(LISTENS, 1): 2, TP(LISTENS, 2): 1, TP(ITEMS, 0): 2}


class Kafka:
    """Leaders that answer, or not; also `Clients`, its only consumer, and Faust's app."""

    bootstrap = "127.0.0.1:1"

    def __init__(self, owned):
        self.outages = Outages()
        self.owned, self.asked, self.silent, self.is_up = owned, [], set(), True
        self.closed = 0
        self.positions = {}
        self._client = SimpleNamespace(cluster=SimpleNamespace(leader_for_partition=LEADERS.get))
        self._consumer = SimpleNamespace(assignment=self.assignment, position=self.position)
        self.transport = SimpleNamespace(lanes={LISTENS: None})

    def assignment(self):
        if self.owned is None:
            raise ConsumerNotStarted
        return self.owned

    async def position(self, tp):
        return self.positions.get(tp)

    def async_consumer(self):
        return self

    async def start(self):
        if not self.is_up:
            raise KafkaConnectionError("no broker")

    async def stop(self):
        self.closed += 1

    async def topics(self):
        if not self.is_up:
            raise KafkaConnectionError("no broker")
        return set()

    async def end_offsets(self, partitions):
        self.asked.append(set(partitions))
        (leader,) = {LEADERS[TP(*tp)] for tp in partitions}
        if leader in self.silent or not self.is_up:
            await asyncio.Event().wait()
        if leader == 3:
            raise KafkaTimeoutError
        return {tp: 10 + tp.partition for tp in partitions}


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(backlog, "_ANSWER_S", 0.01)


async def poll_once(made):
    made.sleep = lambda seconds: made._stopped.set() or asyncio.sleep(0)
    await made._poll()
    made._stopped.clear()


def backlog_of(kafka):
    return Backlog(kafka, [TOPICS.listens, TOPICS.catalog_items], 1.0, kafka)


async def test_asks_each_leader_for_owned_partitions_alone():
    kafka = Kafka({TP(LISTENS, 0), TP(LISTENS, 1), TP(LISTENS, 2), TP(ITEMS, 0), TP("other", 5)})
    kafka.positions = {TP(ITEMS, 0): 4}
    made = backlog_of(kafka)
    assert not made.answers
    await poll_once(made)
    assert sorted(map(sorted, kafka.asked)) == [[(ITEMS, 0), (LISTENS, 1)], [(LISTENS, 0), (LISTENS, 2)]]
    assert made.ends(LISTENS) == {0: 10, 1: 11, 2: 12}
    assert made.unread(ITEMS) == Work(6, ((0, 4),))
    assert made.answers
    assert not kafka.outages.of("kafka").is_on


async def test_partitions_whose_leader_is_away_have_no_waiting_work():
    kafka = Kafka(set(LEADERS))
    kafka.positions = {TP(ITEMS, 0): 4}
    made = backlog_of(kafka)
    await poll_once(made)
    kafka.silent = {2}
    await poll_once(made)
    assert made.ends(LISTENS) == {0: 10, 2: 12}
    assert made.unread(ITEMS).waiting == 0
    assert not made.answers
    assert f"no leader answers for {ITEMS}/0, {LISTENS}/1" in kafka.outages.of("kafka")._reason
    kafka.silent = set()
    await poll_once(made)
    assert made.answers
    assert made.ends(LISTENS) == {0: 10, 1: 11, 2: 12}
    assert not kafka.outages.of("kafka").is_on


async def test_without_any_broker_nothing_waits_and_the_next_poll_connects_anew():
    kafka = Kafka(set(LEADERS))
    made = backlog_of(kafka)
    await poll_once(made)
    kafka.is_up = False
    await poll_once(made)
    assert made.ends(LISTENS) == {}
    assert not made.answers
    assert kafka.closed == 1
    assert kafka.outages.of("kafka")._reason == "no answer from 127.0.0.1:1"
    await poll_once(made)
    assert not made.answers
    kafka.is_up = True
    await poll_once(made)
    assert made.answers
    await made.on_stop()


@pytest.mark.parametrize("owned", [None, set()])
async def test_without_partitions_it_asks_whether_a_broker_is_there(owned):
    kafka = Kafka(owned)
    made = backlog_of(kafka)
    await poll_once(made)
    assert made.answers
    assert kafka.asked == []
    kafka.is_up = False
    await poll_once(made)
    assert not made.answers
