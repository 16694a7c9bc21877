"""aiokafka: a batch or record that cannot be parsed is handed out as unreadable, and its partition goes on.

aiokafka parses records inside `getmany`; an error there ends the read at that offset, for ever. `install` replaces two
names of `aiokafka.consumer.fetcher`, so that it covers every consumer of the process, Faust's own among them. Records
that aiokafka can read do not pass any code of ours.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import ConsumerRecord

from sidestream.streams.errors import SidestreamError
from sidestream.streams.kafka.records.batch import Batch, BatchRecord
from sidestream.streams.kafka.records.rescue import CountedBatches, rescued

_NO_TIMESTAMP_TYPE = 0


def install() -> None:
    """Make all consumers of this process tolerant; to be called before one is started, any number of times."""
    fetcher.MemoryRecords = _counted
    fetcher.PartitionRecords = TolerantRecords


def _counted(raw: bytes) -> CountedBatches:
    return CountedBatches(raw, MemoryRecords)


class TolerantRecords(PartitionRecords):  # type: ignore[misc]
    """Records of one partition in a fetch response; iterating never fails for what the records hold."""

    _records: CountedBatches
    _records_iterator: Iterator[Any] | None
    next_fetch_offset: int

    def __next__(self) -> Any:
        """Return the next record; one that cannot be read has an `Unreadable` value."""
        while True:
            try:
                return next(self._records_iterator or iter(()))
            except StopIteration:
                self._records_iterator = None  # breaks a reference cycle, as in aiokafka
                raise
            except SidestreamError:
                raise
            except Exception:  # noqa: BLE001 - whatever the library raises for the bytes of a batch
                # The generator has ended with its error.
                self._records_iterator = self._from_last_taken()

    def _from_last_taken(self) -> Iterator[Any]:
        """Read the batch that the library failed at, then let the library go on behind it."""
        batch = self._records.last_taken(calc_crc32c)
        if not self._is_hidden(batch):
            for record in rescued(self._tp.topic, self._tp.partition, self._records, batch, self.next_fetch_offset):
                self.next_fetch_offset = record.offset + 1
                yield self._made(record)
        self.next_fetch_offset = max(self.next_fetch_offset, batch.last_offset + 1)
        yield from self._unpack_records()

    def _is_hidden(self, batch: Batch) -> bool:
        """Whether a batch is a marker, or belongs to an aborted transaction."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id >= 0:
            self._consume_aborted_up_to(batch.first_offset)
            if batch.is_control:
                self._aborted_producers.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        # A marker whose CRC fails may as well be records.
        return batch.is_control and batch.fault is None

    def _contains_abort_marker(self, next_batch: Any) -> bool:
        """Whether a marker ends an aborted transaction; nothing hangs on it unless its producer has one.

        A changelog has a marker for every few records, and the library takes 1 µs to read one.
        """
        return next_batch.producer_id in self._aborted_producers and super()._contains_abort_marker(next_batch)

    def _made(self, record: BatchRecord) -> Any:
        return ConsumerRecord(
            self._tp.topic,
            self._tp.partition,
            record.offset,
            record.timestamp,
            _NO_TIMESTAMP_TYPE,
            record.key,
            record.value,
            None,
            -1 if record.key is None else len(record.key),
            -1 if record.value is None else len(record.value),
            record.headers,
        )
