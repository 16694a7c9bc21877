"""At-least-once writer: an idempotent producer, with source offsets committed later through the group."""

import asyncio
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.durable.sending import (
    MAX_REQUEST_BYTES,
    queue_batch,
    stop_producer,
    writer_closed_error,
)
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.runtime.pacing import Pacer


class IdempotentWriter:
    """`ChangelogWriter` with one idempotent producer for all partitions.

    Args:
        topic: Changelog topic.
        clients: Kafka client factory.
        batch_bytes: Size of one producer batch.
        pacer: Yields to session-starts.
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
        del partitions  # one producer serves all partitions
        self._producer = self._clients.async_producer(
            max_batch_bytes=self._batch_bytes, max_request_bytes=MAX_REQUEST_BYTES
        )
        await self._producer.start()

    def set_changelog_ends(self, changelog_next: Mapping[int, int]) -> None:
        """Set the expected offsets of our first records."""
        self._next = dict(changelog_next)

    async def publish(self, batch: FoldedBatch) -> int | None:
        """Write values and dead letters and wait for all acks.

        Args:
            batch: What the batch changes.

        Returns:
            Offset of the last changelog record that was written; None if there was nothing to write.

        Raises:
            LaneError: The broker rejected a record, or another process writes to this changelog partition.
        """
        if self._producer is None:
            raise writer_closed_error(self.topic)
        try:
            queued = await queue_batch(self._producer, self.topic, batch, self._pacer)
            for count, future in queued.values:
                self._check_contiguous(batch.partition, (await future).offset, count)
            await asyncio.gather(*(future for _, future in queued.others))
        except KafkaError as exc:
            msg = (
                f"changelog {self.topic}/{batch.partition}: a batch before source offset {batch.next_offset} was not "
                f"acknowledged ({exc!r}); check the broker; the worker restarts and folds it again"
            )
            raise LaneError(msg) from exc
        return self._next[batch.partition] - 1 if queued.values else None

    async def close(self) -> None:
        """Stop the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer, self.topic)

    def _check_contiguous(self, partition: int, base_offset: int, count: int) -> None:
        # A gap means that another process wrote here: keeping our offset would skip its records forever.
        expected = self._next[partition]
        if base_offset != expected:
            msg = (
                f"changelog {self.topic}/{partition}: expected our batch at offset {expected}, got {base_offset}: "
                "another worker writes to this partition; this one must restart and restore"
            )
            raise LaneError(msg)
        self._next[partition] = base_offset + count
