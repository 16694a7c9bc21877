"""At-least-once writer: an idempotent producer, with source offsets committed later through the group."""

import asyncio
from dataclasses import replace

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sidestream.streams.errors import LaneError, LaneInterrupted, NotAcknowledged
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.producing import acknowledged
from sidestream.streams.listens.durable.sending import (
    MAX_REQUEST_BYTES,
    derived_groups,
    queue_batch,
    queue_derived,
    stop_producer,
    writer_closed_error,
)
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.runtime.pacing import Pacer

# Limit of one batch; the producer itself retries until its request timeout.
PUBLISH_S = 30.0


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
        self._is_broken = False
        self._starting = asyncio.Lock()
        self._open: set[int] = set()
        self._next: dict[int, int] = {}

    async def open(self, partition: int) -> None:
        """Start the producer, which serves all partitions, unless it works.

        Args:
            partition: A partition that this worker owns.

        Raises:
            LaneInterrupted: The broker does not answer.
        """
        self._open.add(partition)
        async with self._starting:
            if self._producer is not None and not self._is_broken:
                return
            await self._stop()
            producer = self._clients.async_producer(
                max_batch_bytes=self._batch_bytes, max_request_bytes=MAX_REQUEST_BYTES
            )
            is_open = False
            try:
                async with asyncio.timeout(PUBLISH_S):
                    await producer.start()
                is_open = True
            except (KafkaError, TimeoutError) as exc:
                msg = f"changelog {self.topic}: the producer cannot be started ({exc!r}); check the broker"
                raise LaneInterrupted(msg) from exc
            finally:
                if not is_open:
                    await stop_producer(producer, self.topic)
            self._producer, self._is_broken = producer, False

    def set_changelog_end(self, partition: int, next_offset: int) -> None:
        """Set the expected offset of our first record."""
        self._next[partition] = next_offset

    async def publish(self, batch: FoldedBatch) -> int | None:
        """Write values and dead letters and wait for all acks.

        Args:
            batch: What the batch changes.

        Returns:
            Offset of the last changelog record that was written; None if there was nothing to write.

        Raises:
            LaneInterrupted: The batch is not known to be durable.
            LaneError: Another process writes to this changelog partition.
        """
        if self._producer is None:
            raise writer_closed_error(self.topic)
        try:
            has_values = await acknowledged(self._send(self._producer, batch), self._producer, PUBLISH_S)
        except (KafkaError, NotAcknowledged) as exc:
            self._is_broken = True
            msg = (
                f"changelog {self.topic}/{batch.partition}: a batch before source offset {batch.next_offset} was not "
                f"acknowledged ({exc!r}); it is folded again; check the broker"
            )
            raise LaneInterrupted(msg) from exc
        return self._next[batch.partition] - 1 if has_values else None

    async def close(self, partition: int) -> None:
        """Stop writing for a partition; the producer stops with the last one."""
        self._open.discard(partition)
        if not self._open:
            await self._stop()

    async def _send(self, producer: AIOKafkaProducer, batch: FoldedBatch) -> bool:
        queued = await queue_batch(producer, self.topic, replace(batch, derived=()), self._pacer)
        for count, future in queued.values:
            self._check_contiguous(batch.partition, (await future).offset, count)
        await asyncio.gather(*(future for _, future in queued.others))
        for group in derived_groups(batch.derived):
            acks = await queue_derived(producer, group, self._pacer)
            await asyncio.gather(*(future for _, future in acks))
        return bool(queued.values)

    async def _stop(self) -> None:
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
