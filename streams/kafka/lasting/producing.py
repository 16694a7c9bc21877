"""Waits for a producer's acknowledgements with a deadline, notices a dead sender, and closes producers that hang.

aiokafka sends in one background task per producer, the sender. An idempotent or transactional producer whose sender has
ended never sends again, and futures that it gave out may stay pending for ever; the same holds for the task that keeps
its metadata. Nothing restarts them: such a producer must be replaced.

Source: aiokafka 0.14, `producer/sender.py` (`_sender_routine`, `_fail_all`) and `client.py` (`_md_synchronizer`).
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
    UnknownProducerId,
)

from sidestream.streams.errors import NotAcknowledged

# What the broker said to the sender, as opposed to what went wrong inside the client.
_ANSWERS = (ProducerFenced, OutOfOrderSequenceNumber, TransactionalIdAuthorizationFailed)
# Refused because of what became of this producer; another one may send the same records.
_OF_THE_PRODUCER = (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    UnknownProducerId,
)
# A sender that is cancelled waits for its requests in flight, which end when the connections close.
_SENDER_END_S = 0.5

Answer = TypeVar("Answer")


def end_of_sender(producer: AIOKafkaProducer) -> BaseException | None:
    """Return why a producer can never send again; None while it can, or while it is not started.

    Args:
        producer: The producer.

    Returns:
        The exception that ended its sender or its metadata task.
    """
    for task in (producer._sender.sender_task, producer.client._sync_task):
        if task is not None and task.done():
            ended: BaseException | None = None if task.cancelled() else task.exception()
            return ended or KafkaError("the producer was closed")
    return None


async def acknowledged(sent: Awaitable[Answer], producer: AIOKafkaProducer, deadline_s: float | None) -> Answer:
    """Await what a producer sends, but no longer than its sender lives and the deadline allows.

    After any error the producer must be replaced: sequence numbers of records that failed are used up. Records that
    were not acknowledged may still be written, until the producer is closed (`close_producer`).

    Args:
        sent: A future of `send`, a `gather` of several, or a coroutine such as `commit_transaction`; cancelled at an
            error.
        producer: The producer.
        deadline_s: Seconds; None to wait as long as the sender lives.

    Returns:
        What the awaitable returns.

    Raises:
        NotAcknowledged: The deadline has passed, or the sender has ended. Its cause is the error of the sender.
        KafkaError: What the broker answered; `ProducerFenced` also when it ended the sender.
    """
    task = asyncio.ensure_future(sent)
    lives = {one for one in (producer._sender.sender_task, producer.client._sync_task) if one is not None}
    try:
        await asyncio.wait({task, *lives}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        ended = end_of_sender(producer)
        if task.done() and (ended is None or task.cancelled() or task.exception() is None):
            return task.result()
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_discard)
    if isinstance(ended, _ANSWERS):
        raise ended
    if ended is not None:
        msg = f"the producer's sender ended ({ended.__cause__ or ended!r}); the producer must be replaced"
        raise NotAcknowledged(msg) from ended
    msg = f"expected an acknowledgement within {deadline_s:g} s, got none; check that the brokers are up"
    raise NotAcknowledged(msg)


def may_pass(error: BaseException) -> bool:
    """Whether a new producer without a transactional id may succeed with the same records, now or later.

    Args:
        error: What sending them raised.

    Returns:
        False for what the broker refuses for good: records too large, missing rights, an invalid topic.
    """
    if isinstance(error, NotAcknowledged):
        return True
    if not isinstance(error, KafkaError):
        return False
    # The sender reports its unexpected errors as plain `KafkaError`.
    return bool(error.retriable) or isinstance(error, _OF_THE_PRODUCER) or type(error) is KafkaError


async def close_producer(producer: AIOKafkaProducer, within_s: float) -> bool:
    """Send what is queued, then close; a producer whose broker does not answer is closed at the deadline.

    `AIOKafkaProducer.stop` waits for ever then, and leaves its sender running when it is cancelled: its records could
    be written at any time later.

    Args:
        producer: The producer; one that is closed already is left alone.
        within_s: How long queued records may take.

    Returns:
        Whether all queued records were sent.
    """
    if producer._closed:
        return True
    producer._closed = True
    sender = producer._sender.sender_task
    is_sent = True
    if sender is not None:
        flush = asyncio.ensure_future(producer._message_accumulator.close())
        await asyncio.wait({flush, sender}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        is_sent = flush.done() and not sender.done()
        flush.cancel()
        sender.cancel()
    await producer.client.close()
    if sender is not None and not (await asyncio.wait({sender}, timeout=_SENDER_END_S))[0]:
        sender.cancel()  # the first one made it wait for its requests
        await asyncio.wait({sender}, timeout=_SENDER_END_S)
    return is_sent


def _discard(task: "asyncio.Future[Answer]") -> None:
    """Read the exception of an abandoned task, which asyncio would log otherwise."""
    if not task.cancelled():
        task.exception()
