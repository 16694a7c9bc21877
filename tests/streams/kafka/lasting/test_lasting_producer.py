"""A producer that is replaced: what is sent again, what is refused, and what is given up."""

import asyncio

import pytest
from aiokafka.errors import (
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
)
from structlog.testing import capture_logs

from sidestream.streams.errors import NotAcknowledged
from sidestream.streams.kafka import outages
from sidestream.streams.kafka.lasting import producer as lasting
from sidestream.streams.kafka.lasting.producer import LastingProducer
from tests.streams.kafka.producers import Broker

A, B = ("t", b"a", b"1", []), ("t", b"b", b"2", [])
WRITTEN = [("t", b"a", b"1"), ("t", b"b", b"2")]


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(outages, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(outages, "LONGEST_PAUSE_S", 0.002)


@pytest.fixture
async def broker():
    return Broker()


@pytest.fixture
async def producer(broker):
    made = LastingProducer(broker, "tests")
    await made.start()
    yield made
    await made.stop()


async def test_sends_in_order(broker, producer):
    assert await producer.send([A, B])
    assert broker.written == WRITTEN
    assert len(broker.producers) == 1
    assert not broker.outages.of("tests").is_on


@pytest.mark.parametrize("answer", [LeaderNotAvailableError(), OutOfOrderSequenceNumber(), "dead"], ids=repr)
async def test_sends_all_again_with_a_new_producer(broker, producer, answer):
    broker.answers = [None, answer]
    begun = []
    broker.outages.on_begin = begun.append
    assert await producer.send([A, B])
    assert broker.written == [WRITTEN[0], *WRITTEN]
    assert [one._closed for one in broker.producers] == [True, False]
    assert begun == ["tests"]
    assert not broker.outages.of("tests").is_on


async def test_replaces_a_producer_that_does_not_answer(broker, producer, monkeypatch):
    monkeypatch.setattr(lasting, "STUCK_S", 0.01)
    broker.answers = ["lost"]
    assert await producer.send([A])
    assert broker.written == WRITTEN[:1]
    assert len(broker.producers) == 2


@pytest.mark.parametrize("error", [MessageSizeTooLargeError(), TopicAuthorizationFailedError("t")], ids=repr)
async def test_what_the_broker_refuses_is_an_error(broker, producer, error):
    broker.answers = [error]
    with pytest.raises(type(error)):
        await producer.send([A])
    assert await producer.send([B])
    assert broker.written == WRITTEN[1:]


async def test_waits_for_a_broker_that_is_away_at_the_start(broker):
    broker.is_up = False
    producer = LastingProducer(broker, "tests")
    starting = asyncio.create_task(producer.start())
    while len(broker.producers) < 3:
        await asyncio.sleep(0)
    assert broker.outages.of("tests").is_on
    broker.is_up = True
    await starting
    assert await producer.send([A])
    assert all(one._closed for one in broker.producers[:-1])
    await producer.stop()


async def test_gives_up_in_time(broker, producer):
    broker.answers = ["lost"]
    with pytest.raises(NotAcknowledged, match="1 acknowledgements within"):
        await producer.send([A], within_s=0.01)
    assert broker.producers[0]._closed
    assert not broker.outages.of("tests").is_on
    assert await producer.send([B])


async def test_abandoned_records_are_not_sent_again(broker, producer):
    broker.answers = ["lost"]
    wanted = [True]
    sending = asyncio.create_task(producer.send([A], lambda: wanted[0]))
    while broker.answers:
        await asyncio.sleep(0)
    wanted[0] = False
    await producer.abandon()
    assert not await sending
    assert broker.written == []
    assert await producer.send([B])


async def test_a_stop_ends_what_waits(broker, producer):
    broker.answers = ["lost"]
    sending = asyncio.create_task(producer.send([A]))
    while broker.answers:
        await asyncio.sleep(0)
    await producer.stop(0.0)
    assert not await sending


async def test_slow_acknowledgements_are_an_outage_that_is_told_once(broker, producer, monkeypatch):
    monkeypatch.setattr(lasting, "SLOW_S", 0.001)
    monkeypatch.setattr(lasting, "STUCK_S", 0.1)
    monkeypatch.setattr(outages, "SHOWN_AFTER_S", 0.001)
    broker.answers = ["lost"]
    with capture_logs() as lines:
        sending = asyncio.create_task(producer.send([A]))
        while not broker.outages.not_ready():
            await asyncio.sleep(0)
        assert broker.outages.not_ready()[0].startswith("tests: waits for Kafka since 0 s: no acknowledgements yet")
        await sending
    assert [line["event"] for line in lines] == ["Kafka is away, retrying", "Kafka is back"]
    assert broker.outages.not_ready() == []
