"""kafka-python: a batch or record that cannot be parsed is handed out as unreadable, and its partition goes on.

`make_tolerant` changes one consumer, not the library: the consumers of a program that uses Sidestream as a library
stay as they are. Records that kafka-python can read do not pass any code of ours.
"""

from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.util import calc_crc32c

from sidestream.streams.errors import SidestreamError
from sidestream.streams.kafka.records.batch import Batch, BatchRecord
from sidestream.streams.kafka.records.rescue import CountedBatches, rescued

_NO_TIMESTAMP_TYPE = 0


def make_tolerant(consumer: KafkaConsumer) -> KafkaConsumer:
    """Make a consumer tolerant, before its first poll.

    Args:
        consumer: The consumer.

    Returns:
        The same consumer.
    """
    consumer._fetcher.PartitionRecords = TolerantRecords
    return consumer


class TolerantRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """Records of one partition in a fetch response; taking them never fails for what they hold."""

    next_fetch_offset: int

    def _unpack_records(
        self, tp: Any, records: MemoryRecords, key_deserializer: Any, value_deserializer: Any
    ) -> Iterator[Any]:
        """Yield the records; one that cannot be read has an `Unreadable` value."""
        batches = CountedBatches(records._buffer, MemoryRecords)
        while True:
            try:
                yield from super()._unpack_records(tp, batches, key_deserializer, value_deserializer)
            except SidestreamError:
                raise
            except Exception:  # noqa: BLE001 - whatever the library raises for the bytes of a batch
                batch = batches.last_taken(calc_crc32c)
            else:
                return
            # The library counts up from the first record of the batch, also where only later ones were asked for.
            self.next_fetch_offset = max(self.next_fetch_offset, self.fetch_offset)
            if not self._is_hidden(batch):
                for record in rescued(tp.topic, tp.partition, batches, batch, self.next_fetch_offset):
                    self.next_fetch_offset = record.offset + 1
                    yield self._made(record)
            self.next_fetch_offset = max(self.next_fetch_offset, batch.last_offset + 1)

    def _is_hidden(self, batch: Batch) -> bool:
        """Whether a batch is a marker, or belongs to an aborted transaction."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.producer_id >= 0:
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if batch.is_control:
                self.aborted_producer_ids.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in self.aborted_producer_ids:
                return True
        # A marker whose CRC fails may as well be records.
        return batch.is_control and batch.fault is None

    def _made(self, record: BatchRecord) -> ConsumerRecord:
        return ConsumerRecord(
            self.topic_partition.topic,
            self.topic_partition.partition,
            self.leader_epoch,
            record.offset,
            record.timestamp,
            _NO_TIMESTAMP_TYPE,
            record.key,
            record.value,
            list(record.headers),
            None,
            -1 if record.key is None else len(record.key),
            -1 if record.value is None else len(record.value),
            -1,
        )
