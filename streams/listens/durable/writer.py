"""Making a folded batch durable in Kafka before anything else may rely on it: the protocol, and its idempotent form.

Both forms promise that when `publish` returns, the values are on the changelog and the bad records on their
dead-letter topic. They differ in what happens to the source offset:

* idempotent (here): it is committed later through the group; a crash in between replays listens, which the watermark
  in every value makes no-ops. At least once, with idempotent folds.
* transactional (`transactions`): it is part of the same transaction, so `commits_source` is true. Exactly once.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sidestream.streams.contracts.deadletters import DeadLetter
from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.pacing import Pacer

# A dead letter is its source record with more headers: it must fit where the record itself just fitted.
MAX_REQUEST_BYTES = 4 << 20
# A record of 1.2 KB costs 1 to 3 us.
_ROWS_A_LOOK = 64

Acks = list[tuple[int, "asyncio.Future[Any]"]]
_Row = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class FoldedBatch:
    """What one batch of one partition changes; side offsets and derived records are by topic, same partition."""

    partition: int
    values: Mapping[bytes, bytes | None]
    dead_letters: Sequence[DeadLetter]
    next_offset: int
    side_offsets: Mapping[str, int] = field(default_factory=dict)
    derived: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)


class ChangelogWriter(Protocol):
    """Publishes folded batches."""

    commits_source: bool

    async def open(self, partitions: Collection[int]) -> None:
        """Get ready for these partitions, before any position is read; fences older writers where the form can.

        Args:
            partitions: All partitions that this worker now owns.

        Raises:
            LaneError: It cannot write for them.
        """

    def restored(self, changelog_next: Mapping[int, int]) -> None:
        """Learn where the changelogs end; called once after `open`, before the first batch.

        Args:
            changelog_next: Next free changelog offset by partition.
        """

    async def publish(self, batch: FoldedBatch) -> int | None:
        """Make one batch durable.

        Args:
            batch: What the batch changes.

        Returns:
            Offset of the last changelog record that was written; none if there was nothing to write.

        Raises:
            LaneError: It is not known to be durable; the worker must restart.
        """

    async def close(self) -> None:
        """Let go of all partitions."""


async def send_values(producer: AIOKafkaProducer, topic: str, batch: FoldedBatch, pacer: Pacer) -> Acks:
    """Queue the values of a batch for the changelog, in few large producer batches.

    Args:
        producer: Started producer.
        topic: Changelog topic.
        batch: What to send.
        pacer: Lets session-starts go first.

    Returns:
        Number of records and the future of each producer batch, in order.

    Raises:
        KafkaError: The producer takes no more.
    """
    rows: Iterable[_Row] = ((key, value, []) for key, value in batch.values.items())
    return await _send_rows(producer, topic, batch.partition, rows, pacer)


async def send_letters(producer: AIOKafkaProducer, batch: FoldedBatch, pacer: Pacer) -> Acks:
    """Queue the dead letters and derived records of a batch, each for the partition that they came from.

    Args:
        producer: Started producer.
        batch: What to send.
        pacer: Lets session-starts go first.

    Returns:
        Number of records and the future of each producer batch.

    Raises:
        KafkaError: The producer takes no more.
    """
    acks: Acks = []
    for topic in {letter.topic for letter in batch.dead_letters}:
        rows = [(x.key, x.value, x.headers) for x in batch.dead_letters if x.topic == topic]
        acks += await _send_rows(producer, topic, batch.partition, rows, pacer)
    for topic, values in batch.derived.items():
        acks += await _send_rows(producer, topic, batch.partition, [(k, v, []) for k, v in values.items()], pacer)
    return acks


async def _send_rows(
    producer: AIOKafkaProducer, topic: str, partition: int, rows: Iterable[_Row], pacer: Pacer
) -> Acks:
    async with pacer.working:
        builders = await _build(producer, rows, pacer)
    return [(builder.record_count(), await _send(producer, builder, topic, partition)) for builder in builders]


async def _build(producer: AIOKafkaProducer, rows: Iterable[_Row], pacer: Pacer) -> list[Any]:
    # `producer.send` would refuse a dead letter that has neither key nor value; a producer batch takes it.
    builders: list[Any] = []
    builder = None
    for number, (key, value, headers) in enumerate(rows):
        if number % _ROWS_A_LOOK == 0:
            await pacer.turn()
        if builder is None or builder.append(key=key, value=value, timestamp=None, headers=headers) is None:
            builder = producer.create_batch()
            builders.append(builder)
            builder.append(key=key, value=value, timestamp=None, headers=headers)
    return builders


async def _send(producer: AIOKafkaProducer, builder: Any, topic: str, partition: int) -> "asyncio.Future[Any]":
    builder.close()
    future: asyncio.Future[Any] = await producer.send_batch(builder, topic, partition=partition)
    return future


class IdempotentWriter:
    """Writes with one idempotent producer for all partitions.

    Args:
        topic: Changelog topic.
        clients: Factory of Kafka clients.
        batch_bytes: Size of one producer batch.
        pacer: Lets session-starts go first.
    """

    commits_source = False

    def __init__(self, topic: str, clients: Clients, batch_bytes: int, pacer: Pacer | None = None) -> None:
        self.topic = topic
        self._pacer = pacer or Pacer()
        self._clients = clients
        self._batch_bytes = batch_bytes
        self._producer: AIOKafkaProducer | None = None
        self._next: dict[int, int] = {}

    async def open(self, partitions: Collection[int]) -> None:
        """Start the producer.

        Args:
            partitions: All partitions that this worker now owns.
        """
        del partitions  # one producer serves all
        self._producer = self._clients.async_producer(
            max_batch_bytes=self._batch_bytes, max_request_bytes=MAX_REQUEST_BYTES
        )
        await self._producer.start()

    def restored(self, changelog_next: Mapping[int, int]) -> None:
        """Learn where our first records must land.

        Args:
            changelog_next: Next free changelog offset by partition.
        """
        self._next = dict(changelog_next)

    async def publish(self, batch: FoldedBatch) -> int | None:
        """Write values and dead letters and wait for all acks.

        Args:
            batch: What the batch changes.

        Returns:
            Offset of the last changelog record that was written; none if there was nothing to write.

        Raises:
            LaneError: The broker refused a record, or somebody else writes to this changelog partition.
        """
        if self._producer is None:
            msg = f"changelog {self.topic}: expected an open writer, got a closed one; restart the worker"
            raise LaneError(msg)
        try:
            sent = await send_values(self._producer, self.topic, batch, self._pacer)
            letters = await send_letters(self._producer, batch, self._pacer)
            for count, future in sent:
                self._check_contiguous(batch.partition, (await future).offset, count)
            await asyncio.gather(*(future for _, future in letters))
        except KafkaError as exc:
            msg = (
                f"changelog {self.topic}/{batch.partition}: a batch before source offset {batch.next_offset} was not "
                f"acknowledged ({exc!r}); check the broker; the worker restarts and folds it again"
            )
            raise LaneError(msg) from exc
        return self._next[batch.partition] - 1 if sent else None

    async def close(self) -> None:
        """Stop the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    def _check_contiguous(self, partition: int, base_offset: int, count: int) -> None:
        # A hole means another process wrote here: keeping our offset would skip its records for ever.
        expected = self._next[partition]
        if base_offset != expected:
            msg = (
                f"changelog {self.topic}/{partition}: expected our batch at offset {expected}, got {base_offset}: "
                "another worker writes to this partition; this one must restart and restore"
            )
            raise LaneError(msg)
        self._next[partition] = base_offset + count
