"""Making a folded batch durable in Kafka before anything else may rely on it: the protocol, and its idempotent form.

Both forms promise that when `publish` returns, the values are on the changelog and the bad records on their
dead-letter topic. They differ in what happens to the source offset:

* idempotent (here): it is committed later through the group; a crash in between replays listens, which the watermark
  in every value makes no-ops. At least once, with idempotent folds.
* transactional (one producer per partition, `transactional.id = app-topic-partition`): it is part of the same
  transaction, so `commits_source` is true and `next_offset` is used.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.connect import Clients
from streams.contracts.deadletters import DeadLetter
from streams.errors import LaneError

# A dead letter is its source record with more headers: it must fit where the record itself just fitted.
MAX_REQUEST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class FoldedBatch:
    """What one batch of one partition changes."""

    partition: int
    values: Mapping[bytes, bytes | None]
    dead_letters: Sequence[DeadLetter]
    next_offset: int


class ChangelogWriter(Protocol):
    """Publishes folded batches."""

    commits_source: bool

    async def open(self, changelog_next: Mapping[int, int]) -> None:
        """Get ready for these partitions; fences older writers where the form can.

        Args:
            changelog_next: Next free changelog offset by partition, as restored.
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


class IdempotentWriter:
    """Writes with one idempotent producer for all partitions.

    Args:
        topic: Changelog topic.
        clients: Factory of Kafka clients.
        batch_bytes: Size of one producer batch.
    """

    commits_source = False

    def __init__(self, topic: str, clients: Clients, batch_bytes: int) -> None:
        self.topic = topic
        self._clients = clients
        self._batch_bytes = batch_bytes
        self._producer: AIOKafkaProducer | None = None
        self._next: dict[int, int] = {}

    async def open(self, changelog_next: Mapping[int, int]) -> None:
        """Start the producer.

        Args:
            changelog_next: Next free changelog offset by partition, as restored.
        """
        self._next = dict(changelog_next)
        self._producer = self._clients.async_producer(
            max_batch_bytes=self._batch_bytes, max_request_bytes=MAX_REQUEST_BYTES
        )
        await self._producer.start()

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
            sent = await self._send_values(self._producer, batch)
            letters = [
                await self._producer.send(letter.topic, letter.value, letter.key, headers=letter.headers)
                for letter in batch.dead_letters
            ]
            for count, future in sent:
                self._check_contiguous(batch.partition, (await future).offset, count)
            await asyncio.gather(*letters)
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

    async def _send_values(
        self, producer: AIOKafkaProducer, batch: FoldedBatch
    ) -> list[tuple[int, "asyncio.Future[Any]"]]:
        sent = []
        builder = producer.create_batch()
        for key, value in batch.values.items():
            if builder.append(key=key, value=value, timestamp=None) is None:
                sent.append((builder.record_count(), await self._send(producer, builder, batch.partition)))
                builder = producer.create_batch()
                builder.append(key=key, value=value, timestamp=None)
        if builder.record_count():
            sent.append((builder.record_count(), await self._send(producer, builder, batch.partition)))
        return sent

    async def _send(self, producer: AIOKafkaProducer, builder: Any, partition: int) -> "asyncio.Future[Any]":
        builder.close()
        future: asyncio.Future[Any] = await producer.send_batch(builder, self.topic, partition=partition)
        return future

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
