"""What is done with a batch that a client library cannot read: it is found again and read as far as possible.

The libraries keep no trace of the batch that they were reading. `CountedBatches` stands between a library and the
bytes of a fetch response: it counts the batches that the library took, at a cost of 0.1 µs per batch, and finds the
last of them again.
"""

import logging
import struct
from collections.abc import Callable, Iterator
from typing import Any

from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.kafka.records.batch import Batch, BatchRecord, Crc32c, base_offset

# The standard library's: importing structlog takes a third of a second, and would print to the output of commands.
logger = logging.getLogger(__name__)

MakeRecords = Callable[[bytes], Any]
"""The library's class of the batches in a fetch response."""

_LENGTH = struct.Struct(">i")
_OFFSET = struct.Struct(">q")
_OFFSET_BYTES, _LENGTH_AT, _PREFIX_BYTES = 8, 8, 12


class CountedBatches:
    """The batches of one partition in a fetch response, in the interface of both libraries' `MemoryRecords`.

    Args:
        raw: The bytes; the last batch may be incomplete.
        make: The library's own class.
    """

    __slots__ = ("_begin", "_end", "_inner", "_make", "_raw", "_taken", "_walked")

    def __init__(self, raw: bytes, make: MakeRecords) -> None:
        self._raw, self._make, self._inner = raw, make, make(raw)
        self._taken = self._walked = self._begin = self._end = 0

    def has_next(self) -> bool:
        """Whether there is a further, complete batch."""
        return bool(self._inner.has_next())

    def size_in_bytes(self) -> int:
        """Return the size of all batches."""
        return len(self._raw)

    def next_batch(self) -> Any:
        """Return the next batch as the library reads it; None if there is no further one."""
        self._taken += 1
        try:
            return self._inner.next_batch()
        except Exception:
            # The library stays before a batch that is shorter than any header.
            self._walk()
            self._inner = self._make(bytes(self._raw[self._end :]))
            raise

    def last_taken(self, crc32c: Crc32c) -> Batch:
        """Return the batch that was taken last, parsed tolerantly; `crc32c` computes CRC-32C.

        If its length may be damaged, nothing behind it is read: it is fetched again, from where the broker finds it.
        """
        self._walk()
        rest = memoryview(self._raw)[self._end :]  # not a copy: a response may hold thousands of damaged batches
        following = base_offset(rest, crc32c)
        batch = Batch(bytes(self._raw[self._begin : self._end]), following, crc32c)
        is_next = following is not None or rest[:_OFFSET_BYTES] == _OFFSET.pack(batch.last_offset + 1)
        if batch.fault is not None and rest and not is_next:
            self._inner = self._make(b"")
        return batch

    def _walk(self) -> None:
        while self._walked < self._taken:
            (length,) = _LENGTH.unpack_from(self._raw, self._end + _LENGTH_AT)
            self._begin, self._end = self._end, self._end + _PREFIX_BYTES + max(0, length)
            self._walked += 1


def rescued(topic: str, partition: int, batches: CountedBatches, batch: Batch, start: int) -> Iterator[BatchRecord]:
    """Read a batch that the library refused, and log the first unreadable place in it.

    Args:
        topic: Topic name.
        partition: Partition.
        batches: All batches of the response.
        batch: The batch.
        start: First offset that was not handed out yet.

    Yields:
        Records from `start` on, readable and unreadable ones.
    """
    is_logged = False
    records = batch.records(start)
    if batch.fault is not None and batch.last_offset < start and not batches.has_next():
        # A broker that is misled by the header would return this batch for ever.
        records = iter((batch.unreadable_at(start),))
    for record in records:
        if isinstance(record.value, Unreadable) and not is_logged:
            is_logged = True
            logger.warning(
                "%s/%d: the record at offset %d cannot be read: %s (in the batch of offsets %d to %d)",
                topic,
                partition,
                max(start, record.value.first_offset),
                record.value.why,
                batch.first_offset,
                batch.last_offset,
            )
        yield record
