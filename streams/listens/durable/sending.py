"""Queueing of a folded batch with a Kafka producer, shared by both writers."""

import asyncio
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.lasting.producing import close_producer
from sidestream.streams.listens.durable.writer import DerivedRecord, FoldedBatch
from sidestream.streams.runtime.pacing import Pacer

logger = logging.getLogger(__name__)

# A dead letter is its source record plus headers: it must fit even if the record only just did.
MAX_REQUEST_BYTES = 4 << 20
# A record of 1.2 KB costs 1 to 3 us.
_ROWS_PER_SLICE = 64

# Without a limit, a producer whose broker is down would block the rebalance; what it still holds is not needed, because
# the batch in flight is awaited before: with transactions, the next owner's start ends an open one.
CLOSE_S = 0.5

Acks = list[tuple[int, "asyncio.Future[Any]"]]
"""Number of records and the future of each producer batch, in order."""

_Row = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


class Queued(NamedTuple):
    """The producer batches of one folded batch."""

    values: Acks
    others: Acks


async def queue_batch(producer: AIOKafkaProducer, changelog: str, batch: FoldedBatch, pacer: Pacer) -> Queued:
    """Queue all records of a batch, in few large producer batches.

    Args:
        producer: Started producer.
        changelog: Topic of the values.
        batch: Values, dead letters and derived records.
        pacer: Yields to session-starts.

    Returns:
        Futures to await.

    Raises:
        KafkaError: The producer accepts no more records.
    """
    queued = Queued([], [])
    for topic, rows in _by_topic(changelog, batch):
        acks = queued.values if topic == changelog else queued.others
        acks.extend(await _queue(producer, topic, batch.partition, rows, pacer))
    for group in derived_groups(batch.derived):
        queued.others.extend(await queue_derived(producer, group, pacer))
    return queued


def derived_groups(records: Sequence[DerivedRecord]) -> Iterator[list[DerivedRecord]]:
    """Yield derived records in their order, neighbours of the same topic and partition together."""
    for _, group in itertools.groupby(records, key=lambda record: (record.topic, record.partition)):
        yield list(group)


async def queue_derived(producer: AIOKafkaProducer, group: Sequence[DerivedRecord], pacer: Pacer) -> Acks:
    """Queue derived records of one partition of one topic.

    Args:
        producer: Started producer.
        group: The records.
        pacer: Yields to session-starts.

    Returns:
        Futures to await.

    Raises:
        KafkaError: The producer accepts no more records.
    """
    rows: Iterable[_Row] = ((record.key, record.value, []) for record in group)
    return await _queue(producer, group[0].topic, group[0].partition, rows, pacer)


async def stop_producer(producer: AIOKafkaProducer, topic: str) -> None:
    """Stop a producer, but do not wait for a broker that does not answer.

    Args:
        producer: The producer.
        topic: What it writes for, used in the log.
    """
    if not await close_producer(producer, CLOSE_S):
        logger.warning("%s: its producer was closed before everything was sent", topic)


def writer_closed_error(changelog: str) -> LaneError:
    """Return the error for a batch published after the writer was closed."""
    return LaneError(f"changelog {changelog}: expected an open writer, got a closed one; restart the worker")


def _by_topic(changelog: str, batch: FoldedBatch) -> Iterator[tuple[str, Iterable[_Row]]]:
    yield changelog, ((key, value, []) for key, value in batch.values.items())
    for topic in {letter.topic for letter in batch.dead_letters}:
        yield topic, [(x.key, x.value, x.headers) for x in batch.dead_letters if x.topic == topic]


async def _queue(producer: AIOKafkaProducer, topic: str, partition: int, rows: Iterable[_Row], pacer: Pacer) -> Acks:
    async with pacer.working:
        builders = await _build(producer, rows, pacer)
    acks: Acks = []
    for builder in builders:
        builder.close()
        acks.append((builder.record_count(), await producer.send_batch(builder, topic, partition=partition)))
    return acks


async def _build(producer: AIOKafkaProducer, rows: Iterable[_Row], pacer: Pacer) -> list[Any]:
    # `producer.send` would reject a dead letter that has neither key nor value; a producer batch accepts it.
    builders: list[Any] = []
    builder = None
    for number, (key, value, headers) in enumerate(rows):
        if number % _ROWS_PER_SLICE == 0:
            await pacer.yield_if_due()
        if builder is None or builder.append(key=key, value=value, timestamp=None, headers=headers) is None:
            builder = producer.create_batch()
            builders.append(builder)
            builder.append(key=key, value=value, timestamp=None, headers=headers)
    return builders
