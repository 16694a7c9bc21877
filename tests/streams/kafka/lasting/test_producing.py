"""Acknowledgements with a deadline, on producers whose sender and metadata task are stand-ins."""

import asyncio

import pytest
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    TopicAuthorizationFailedError,
)

from sidestream.streams.errors import NotAcknowledged
from sidestream.streams.kafka.lasting.producing import acknowledged, close_producer, end_of_sender, may_pass
from tests.streams.kafka.producers import StandIn, fail


async def test_returns_the_answer():
    producer = StandIn()
    assert end_of_sender(producer) is None
    assert await acknowledged(asyncio.sleep(0, "offset"), producer, 5.0) == "offset"
    assert await acknowledged(asyncio.sleep(0, "offset"), producer, None) == "offset"


async def test_raises_what_the_broker_answered():
    with pytest.raises(OutOfOrderSequenceNumber):
        await acknowledged(fail(OutOfOrderSequenceNumber()), StandIn(), 5.0)


async def test_raises_at_the_deadline():
    pending = asyncio.get_running_loop().create_future()
    with pytest.raises(NotAcknowledged, match=r"within 0\.01 s"):
        await acknowledged(pending, StandIn(), 0.01)
    assert pending.cancelled()


@pytest.mark.parametrize("deadline_s", [None, 60.0])
async def test_raises_when_the_sender_ends(deadline_s):
    pending = asyncio.get_running_loop().create_future()
    producer = StandIn(fail(KafkaError("Unexpected error")))
    with pytest.raises(NotAcknowledged, match="Unexpected error"):
        await acknowledged(pending, producer, deadline_s)
    with pytest.raises(NotAcknowledged):
        await acknowledged(fail(KafkaError("follows")), producer, deadline_s)


async def test_raises_when_the_metadata_task_ends():
    producer = StandIn()
    producer.client._sync_task.cancel()
    with pytest.raises(NotAcknowledged, match="closed"):
        await acknowledged(asyncio.get_running_loop().create_future(), producer, None)


async def test_fencing_stays_fencing_when_it_ends_the_sender():
    producer = StandIn(fail(ProducerFenced()))
    with pytest.raises(ProducerFenced):
        await acknowledged(asyncio.get_running_loop().create_future(), producer, 60.0)


async def test_an_answer_that_arrived_counts_although_the_sender_ended_since():
    producer = StandIn(fail(KafkaError("late")))
    done = asyncio.get_running_loop().create_future()
    done.set_result("offset")
    await asyncio.sleep(0)
    assert await acknowledged(done, producer, 60.0) == "offset"


async def test_closes_after_the_queue_is_sent():
    producer = StandIn()
    assert await close_producer(producer, 60.0)
    assert producer.client.is_closed
    assert producer._sender.sender_task.cancelled()
    assert await close_producer(producer, 60.0)


@pytest.mark.parametrize("is_dead", [False, True])
async def test_closes_although_nothing_can_be_sent(is_dead):
    producer = StandIn(fail(KafkaError("dead")) if is_dead else None, flushes=False)
    assert not await close_producer(producer, 60.0 if is_dead else 0.01)
    assert producer.client.is_closed
    assert producer._sender.sender_task.done()


async def test_ends_a_sender_that_waits_for_its_requests():
    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    producer = StandIn(stubborn(), flushes=False)
    await asyncio.sleep(0)
    assert not await close_producer(producer, 0.01)
    assert producer._sender.sender_task.done()


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (LeaderNotAvailableError(), True),
        (OutOfOrderSequenceNumber(), True),
        (NotAcknowledged("late"), True),
        (KafkaError("Unexpected error during batch delivery"), True),
        (MessageSizeTooLargeError(), False),
        (TopicAuthorizationFailedError("t"), False),
        (ValueError(), False),
    ],
)
def test_what_a_new_producer_may_send_again(error, passes):
    assert may_pass(error) is passes
