"""Exactly-once writer: values, dead letters and source offset of a batch in one Kafka transaction.

Each partition that this worker owns has its own producer, `transactional.id = group-topic-partition`. Correctness
depends on the broker alone:

* starting the producer (InitProducerId) ends the open transaction of an older owner of the partition, and from then on
  the broker rejects all writes of that owner: a process that was paused past its session cannot write, however late it
  resumes;
* a transaction, including the source offset, becomes visible as a whole or not at all, so a crash at any point neither
  loses nor duplicates a listen. Readers of the changelog and of the dead letters use `read_committed`.

Fencing relies on the transactional id and not on the group: aiokafka's TxnOffsetCommit (v0) has no generation id, and a
broker accepts it from a member of an old generation. That is why `open` must come before any position is read.

A retriable error is handled by abort and retry, which is safe as long as the abort itself is accepted: only the owner
can abort. After any other failure, and where a transaction takes longer than the broker keeps it, its outcome is not
known: the lane opens the partition again, which is as safe as a restart of the process (`partition_fold`). The same
holds for a producer whose transactional id has expired on the broker (7 days without a listen).

Source: KIP-98 (transactions); KIP-447 (why a group generation would be the other fence).
"""

import asyncio
import logging

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from sidestream.streams.errors import LaneError, LaneFenced, LaneInterrupted, NotAcknowledged
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.producing import acknowledged
from sidestream.streams.listens.durable.sending import (
    MAX_REQUEST_BYTES,
    queue_batch,
    stop_producer,
    writer_closed_error,
)
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.runtime.pacing import Pacer

logger = logging.getLogger(__name__)

# Errors that would meet the same batch again.
_BATCH_REFUSED = (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
# Attempts per batch; each abort costs about 5 ms.
ATTEMPTS = 5
RETRY_S = 0.05
# With aiokafka's default of 100 ms, a transaction would wait that long while the markers of the last one are written.
RETRY_BACKOFF_MS = 5


class TransactionalWriter:
    """`ChangelogWriter` with one transactional producer for each partition.

    Args:
        source_topic: Topic whose offsets are committed.
        changelog_topic: Topic of the values.
        group_id: Consumer group of the source offsets; the first part of the transactional ids.
        clients: Kafka client factory.
        batch_bytes: Size of one producer batch.
        transaction_timeout_ms: The broker aborts a transaction that is open for longer and fences its producer.
        pacer: Yields to session-starts.
    """

    commits_source = True

    def __init__(
        self,
        source_topic: str,
        changelog_topic: str,
        group_id: str,
        clients: Clients,
        batch_bytes: int,
        transaction_timeout_ms: int,
        pacer: Pacer | None = None,
    ) -> None:
        self.source_topic, self.changelog_topic, self.group_id = source_topic, changelog_topic, group_id
        self._clients = clients
        self._batch_bytes = batch_bytes
        self._timeout_ms, self._limit_s = transaction_timeout_ms, transaction_timeout_ms / 1e3
        self._pacer = pacer or Pacer()
        self._producers: dict[int, AIOKafkaProducer] = {}

    def transactional_id(self, partition: int) -> str:
        """Transactional id of a source partition; the same for every worker of the group, which makes fencing work."""
        return f"{self.group_id}-{self.source_topic}-{partition}"

    async def open(self, partition: int) -> None:
        """Start the partition's producer, which fences older owners; takes 20 to 60 ms.

        Args:
            partition: A partition that this worker owns.

        Raises:
            LaneInterrupted: The broker does not answer.
            LaneError: The broker does not permit transactions.
        """
        await self.close(partition)
        producer = self._clients.async_producer(
            transactional_id=self.transactional_id(partition),
            transaction_timeout_ms=self._timeout_ms,
            max_batch_bytes=self._batch_bytes,
            max_request_bytes=MAX_REQUEST_BYTES,
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        where, is_open = f"{self.source_topic}/{partition}", False
        try:
            async with asyncio.timeout(self._limit_s):
                await producer.start()
            is_open = True
        except TransactionalIdAuthorizationFailed as exc:
            msg = (
                f"{self.source_topic}: the broker does not permit transactions; allow WRITE and DESCRIBE on "
                f"transactional ids with the prefix {self.group_id}-{self.source_topic}-, or set "
                "lane.guarantee = at_least_once for all workers of this group"
            )
            raise LaneError(msg) from exc
        except (KafkaError, TimeoutError) as exc:
            msg = f"{where}: the transactional producer cannot be started ({exc!r}); check the broker"
            raise LaneInterrupted(msg) from exc
        finally:
            if not is_open:
                await stop_producer(producer, where)
        self._producers[partition] = producer

    def set_changelog_end(self, partition: int, next_offset: int) -> None:
        """Do nothing: no other process can write, and transactions leave gaps in the offsets anyway."""

    async def publish(self, batch: FoldedBatch) -> int | None:
        """Commit one batch.

        Args:
            batch: What the batch changes.

        Returns:
            Offset of the last changelog record that was written; None if there was nothing to write.

        Raises:
            LaneInterrupted: The batch is not known to be durable.
            LaneFenced: Another worker owns the partition, or the transaction was open for too long.
            LaneError: The broker rejected the batch itself.
        """
        producer = self._producers.get(batch.partition)
        if producer is None:
            raise writer_closed_error(self.changelog_topic)
        try:
            return await acknowledged(self._transaction(producer, batch), producer, self._limit_s)
        except NotAcknowledged as exc:
            raise self._interrupted(batch, exc) from exc
        except KafkaError as exc:
            raise self._refused(batch, exc) from exc

    async def close(self, partition: int) -> None:
        """Stop the partition's producer."""
        if (producer := self._producers.pop(partition, None)) is not None:
            await stop_producer(producer, f"{self.source_topic}/{partition}")

    async def _transaction(self, producer: AIOKafkaProducer, batch: FoldedBatch) -> int | None:
        attempt = 1
        while True:
            try:
                last = await self._send(producer, batch)
                break
            except KafkaError as exc:
                if not exc.retriable or attempt == ATTEMPTS:
                    raise
                logger.warning("%s/%d: transaction aborted, retrying", self.source_topic, batch.partition)
            await producer.abort_transaction()
            await asyncio.sleep(RETRY_S)
            attempt += 1
        await producer.commit_transaction()  # never retried: it may have been committed
        return last

    async def _send(self, producer: AIOKafkaProducer, batch: FoldedBatch) -> int | None:
        """Begin a transaction and wait for all acks; aiokafka would commit it without the rejected records."""
        await producer.begin_transaction()
        values, others = await queue_batch(producer, self.changelog_topic, batch, self._pacer)
        next_offsets = {self.source_topic: batch.next_offset, **batch.side_offsets}
        offsets = {TopicPartition(topic, batch.partition): offset for topic, offset in next_offsets.items()}
        acks = await asyncio.gather(
            *(future for _, future in (*values, *others)),
            producer.send_offsets_to_transaction(offsets, self.group_id),
        )
        if not values:
            return None
        last = len(values) - 1
        return int(acks[last].offset) + values[last][0] - 1

    def _refused(self, batch: FoldedBatch, exc: KafkaError) -> LaneError:
        where = f"{self.source_topic}/{batch.partition}"
        if isinstance(exc, ProducerFenced):
            msg = (
                f"{where}: fenced at the batch before source offset {batch.next_offset}, which is not kept: "
                f"another worker has taken over the partition, or a transaction was open for more than "
                f"{self._timeout_ms} ms (lane.transaction_timeout_ms); this worker must restart"
            )
            return LaneFenced(msg)
        if not isinstance(exc, _BATCH_REFUSED):
            return self._interrupted(batch, exc)
        msg = (
            f"{where}: Kafka refuses the batch before source offset {batch.next_offset} ({exc!r}); nothing of it is "
            "kept; compare the limits and permissions of the topics, then restart the worker"
        )
        return LaneError(msg)

    def _interrupted(self, batch: FoldedBatch, exc: Exception) -> LaneInterrupted:
        return LaneInterrupted(
            f"{self.source_topic}/{batch.partition}: the transaction of the batch before source offset "
            f"{batch.next_offset} failed ({exc!r}); it is folded again if it was not kept; check the broker"
        )
