"""Exactly once: values, dead letters and source offset of a batch in one Kafka transaction, one producer a partition.

Each partition that this worker owns has a producer of its own, `transactional.id = group-topic-partition`. What
correctness rests on is the broker alone:

* starting the producer (InitProducerId) ends what an older owner of the partition left open, and from then on refuses
  whatever that owner still sends: a process that was paused past its session cannot write, however late it wakes;
* a transaction is visible as a whole or not at all, source offset included, so a crash at any point neither loses nor
  repeats a listen. Readers of the changelog and of the dead letters use `read_committed`.

The fence is the transactional id and not the group: aiokafka's TxnOffsetCommit (v0) names no generation, and a broker
takes it from a member of a dead one. That is why `open` must come before any position is read.

An error that the broker calls retriable is answered by abort and retry, which is safe as long as the abort itself is
accepted: only the owner can abort. Nothing here ever starts a producer again within an assignment: that would fence
the rightful owner. A producer whose transactional id the broker has forgotten (7 days without a listen) fails its next
batch, and the worker restarts.

Source: KIP-98 (transactions); KIP-447 (why a group generation would be the other fence).
"""

import asyncio
import logging
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced, TransactionalIdAuthorizationFailed

from sidestream.streams.errors import LaneError, LaneFenced
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.durable.sending import MAX_REQUEST_BYTES, closed_writer, queue_batch
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.waiting import together

logger = logging.getLogger(__name__)

# One batch is tried this often; each abort costs about 5 ms.
ATTEMPTS = 5
RETRY_S = 0.05
# aiokafka's default of 100 ms is what a transaction waits for while the markers of the last one are written.
RETRY_BACKOFF_MS = 5
# A producer whose broker is gone would wait for it, and the rebalance with it; what it leaves open, the next owner's
# start ends.
CLOSE_S = 1.0


class TransactionalWriter:
    """`ChangelogWriter` with one transactional producer for each partition.

    Args:
        source_topic: Topic whose offsets are committed.
        changelog_topic: Topic of the values.
        group_id: Consumer group of the source offsets; the first part of the transactional ids.
        clients: Factory of Kafka clients.
        batch_bytes: Size of one producer batch.
        transaction_timeout_ms: After this long the broker aborts an open transaction and fences its producer.
        pacer: Lets session-starts go first.
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
        self._timeout_ms = transaction_timeout_ms
        self._pacer = pacer or Pacer()
        self._producers: dict[int, AIOKafkaProducer] = {}

    def transactional_id(self, partition: int) -> str:
        """Name the producer of a partition; the same for every worker of the group, which is what fences.

        Args:
            partition: Source partition.

        Returns:
            The transactional id.
        """
        return f"{self.group_id}-{self.source_topic}-{partition}"

    async def open(self, partitions: Collection[int]) -> None:
        """Start all producers at the same time, which fences older owners; 20 to 60 ms.

        Args:
            partitions: All partitions that this worker now owns.

        Raises:
            LaneError: The broker does not grant transactions.
        """
        for partition in partitions:
            self._producers[partition] = self._clients.async_producer(
                transactional_id=self.transactional_id(partition),
                transaction_timeout_ms=self._timeout_ms,
                max_batch_bytes=self._batch_bytes,
                max_request_bytes=MAX_REQUEST_BYTES,
                retry_backoff_ms=RETRY_BACKOFF_MS,
            )
        try:
            await together(producer.start() for producer in self._producers.values())
        except TransactionalIdAuthorizationFailed as exc:
            msg = (
                f"{self.source_topic}: the broker does not grant transactions; allow WRITE and DESCRIBE on "
                f"transactional ids with the prefix {self.group_id}-{self.source_topic}-, or set "
                "lane.guarantee = at_least_once for all workers of this group"
            )
            raise LaneError(msg) from exc
        except KafkaError as exc:
            msg = (
                f"{self.source_topic}: the transactional producers cannot be started ({exc!r}); check the broker, then "
                "restart the worker"
            )
            raise LaneError(msg) from exc

    def restored(self, changelog_next: Mapping[int, int]) -> None:
        """Do nothing: nobody else can write, and transactions leave holes in the offsets anyway.

        Args:
            changelog_next: Next free changelog offset by partition.
        """

    async def publish(self, batch: FoldedBatch) -> int | None:
        """Commit one batch.

        Args:
            batch: What the batch changes.

        Returns:
            Offset of the last changelog record that was written; none if there was nothing to write.

        Raises:
            LaneFenced: Another worker owns the partition, or the transaction was open for too long.
            LaneError: The broker refused the transaction for another reason.
        """
        producer = self._producers.get(batch.partition)
        if producer is None:
            raise closed_writer(self.changelog_topic)
        attempt = 1
        while True:
            try:
                last = await self._send(producer, batch)
                break
            except KafkaError as exc:
                if not exc.retriable or attempt == ATTEMPTS:
                    raise self._refused(batch, exc) from exc
                logger.warning("%s/%d: transaction aborted, trying again", self.source_topic, batch.partition)
                await self._abort(producer, batch)
                await asyncio.sleep(RETRY_S)
            attempt += 1
        try:
            await producer.commit_transaction()
        except KafkaError as exc:  # never tried again: it may have been committed
            raise self._refused(batch, exc) from exc
        return last

    async def close(self) -> None:
        """Stop all producers."""
        producers, self._producers = self._producers, {}
        await asyncio.gather(*(self._stop(partition, producer) for partition, producer in producers.items()))

    async def _send(self, producer: AIOKafkaProducer, batch: FoldedBatch) -> int | None:
        """Begin a transaction and have the broker take all of it; aiokafka would commit without refused records."""
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

    async def _abort(self, producer: AIOKafkaProducer, batch: FoldedBatch) -> None:
        try:
            await producer.abort_transaction()
        except KafkaError as exc:
            raise self._refused(batch, exc) from exc

    def _refused(self, batch: FoldedBatch, exc: KafkaError) -> LaneError:
        where = f"{self.source_topic}/{batch.partition}"
        if isinstance(exc, ProducerFenced):
            msg = (
                f"{where}: fenced at the batch before source offset {batch.next_offset}, none of which is kept: "
                f"another worker has taken the partition over, or a transaction was open for more than "
                f"{self._timeout_ms} ms (lane.transaction_timeout_ms); this worker must restart"
            )
            return LaneFenced(msg)
        msg = (
            f"{where}: the transaction of the batch before source offset {batch.next_offset} failed ({exc!r}); check "
            "the broker; the worker restarts, and folds it again if it was not kept"
        )
        return LaneError(msg)

    async def _stop(self, partition: int, producer: AIOKafkaProducer) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await producer.stop()
        except TimeoutError:
            logger.warning("%s/%d: its producer did not stop in %.0f s", self.source_topic, partition, CLOSE_S)
