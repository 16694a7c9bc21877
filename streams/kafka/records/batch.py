"""Tolerant parser of one record batch of format v2: reads what can be read, and says of everything else why not.

It is used for batches that a client library refuses, never otherwise. On batches that the libraries can read it gives
the same records.

    batch:  base offset i64, length i32, leader epoch i32, magic i8, CRC u32, attributes i16, last offset delta i32,
            first timestamp i64, max timestamp i64, producer id i64, producer epoch i16, base sequence i32, count i32,
            records (compressed, if the attributes say so)
    record: length, attributes i8, timestamp delta, offset delta, key, value, number of headers, names and values; all
            lengths, deltas and numbers are zigzag varints, a length of -1 means null

The CRC-32C covers everything behind it. A batch whose CRC fails is still taken apart, but none of its records is valid.

Source: KIP-98 (record batch format v2); Kafka documentation, "Record Batch".
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.kafka.records.codecs import decompress
from sidestream.streams.kafka.records.fields import Cursor, Fields

Headers = tuple[tuple[str, bytes | None], ...]
Crc32c = Callable[[bytes | memoryview], int]

_HEADER = struct.Struct(">qiibIhiqqqhii")
_PREFIX = struct.Struct(">qiibI")
_AFTER_LENGTH_AT, _MAGIC_AT, _ATTRIBUTES_AT = 12, 16, 21
_MAGIC = 2
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
# More than brokers accept in one batch: a megabyte by default, of at least 7 bytes each before compression.
_MAX_RECORDS = 1 << 20
_NO_TIMESTAMP = -1


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A record of a batch.

    Attributes:
        offset: Its offset; of several unreadable ones the last.
        timestamp: Kafka timestamp in milliseconds; -1 if it is not known.
        key: Key; None if the record is unreadable.
        value: Value; `Unreadable` if the record is unreadable.
        headers: Headers; none if the record is unreadable.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def base_offset(raw: bytes | memoryview, crc32c: Crc32c) -> int | None:
    """Read the first offset of the batch at the beginning of some bytes.

    A wrong one would make a reader skip all that lies before it, so everything is checked that can be.

    Args:
        raw: The bytes; the batch may be incomplete.
        crc32c: Computes CRC-32C.

    Returns:
        The offset; None if the bytes are no batch, or too few to tell.
    """
    if len(raw) < _ATTRIBUTES_AT or raw[_MAGIC_AT] != _MAGIC:
        return None
    base: int
    base, length, _, _, crc = _PREFIX.unpack_from(raw)
    end = _AFTER_LENGTH_AT + length
    if length < _HEADER.size - _AFTER_LENGTH_AT or (end <= len(raw) and crc32c(raw[_ATTRIBUTES_AT:end]) != crc):
        return None
    return base


class Batch:
    """A batch, of which only the first 8 bytes are sure to be there.

    Args:
        raw: Its bytes, from the base offset on.
        following: Base offset of the next batch; None if it is not known. A damaged batch is taken to end before it.
        crc32c: Computes CRC-32C.

    Attributes:
        first_offset: Base offset.
        last_offset: Last offset; at least the base offset.
        is_transactional: Whether it belongs to a transaction.
        is_control: Whether it is a transaction marker.
        producer_id: Producer; -1 for none.
        fault: Why none of its records is valid; None if each must be looked at.
    """

    def __init__(self, raw: bytes, following: int | None, crc32c: Crc32c) -> None:
        self._raw = raw
        self.is_transactional = self.is_control = False
        self.producer_id = -1
        self._timestamp, self._attributes, self._count = _NO_TIMESTAMP, 0, 0
        self.first_offset: int = struct.unpack_from(">q", raw)[0]
        self.fault: str | None
        delta, self.fault = self._read_header(crc32c)
        if self.fault is not None:
            delta = self._plausible(delta, following)
        self.last_offset = self.first_offset + delta

    def unreadable_at(self, offset: int) -> BatchRecord:
        """Return an unreadable record for an offset behind the last one, where a broker holds it to be in here."""
        return BatchRecord(offset, self._timestamp, None, Unreadable(self.fault or "", offset, "batch", self._raw))

    def records(self, start: int) -> Iterator[BatchRecord]:
        """Read the records.

        Args:
            start: First offset that is wanted.

        Yields:
            Records in offset order. Every offset from `start` to the last one that may hold data is covered by a
            readable or an unreadable record.
        """
        for record in self._all_records():
            if record.offset >= start:
                yield record

    def _plausible(self, delta: int, following: int | None) -> int:
        """Return the last offset delta of a damaged batch; one that is too large would make a reader skip records."""
        if following is not None and following > self.first_offset:
            # Gaps of compaction may be among these offsets; records of this batch must not be left out.
            return following - self.first_offset - 1
        return next((found for found in (delta, self._count - 1) if 0 <= found < _MAX_RECORDS), 0)

    def _read_header(self, crc32c: Crc32c) -> tuple[int, str | None]:
        """Read the header; returns the last offset delta, and why no record is valid."""
        raw = self._raw
        if len(raw) < _HEADER.size or raw[_MAGIC_AT] != _MAGIC:
            magic = f", magic {raw[_MAGIC_AT]}" if len(raw) > _MAGIC_AT else ""
            return 0, f"expected a record batch of format 2, got {len(raw)} bytes{magic}"
        (_, _, _, _, crc, attributes, delta, first, newest, producer, _, _, count) = _HEADER.unpack_from(raw)
        found = crc32c(raw[_ATTRIBUTES_AT:])
        self._attributes, self._count, self.producer_id = attributes, count, producer
        self.is_transactional = bool(attributes & _TRANSACTIONAL)
        self.is_control = bool(attributes & _CONTROL)
        self._first_timestamp, self._timestamp = first, newest
        fault = None if found == crc else f"damaged batch: expected CRC-32C {crc:#010x}, got {found:#010x}"
        return max(0, delta), fault

    def _all_records(self) -> Iterator[BatchRecord]:
        raw = self._raw
        if len(raw) < _HEADER.size or raw[_MAGIC_AT] != _MAGIC:
            yield self._unreadable(self.fault or "", self.first_offset, content=raw)
            return
        try:
            payload = decompress(self._attributes & _CODEC, raw[_HEADER.size :])
        except ValueError as exc:
            why = "; ".join(filter(None, (self.fault, str(exc))))
            yield self._unreadable(why, self.first_offset, content=raw)
            return
        previous, at = self.first_offset - 1, 0
        for number in range(self._count):
            cursor = Cursor(payload, at, len(payload))
            try:
                at = cursor.end_of(cursor.varint("length"), "record")
            except ValueError as exc:
                what = f"record {number + 1} of {self._count} of the batch: {exc}"
                yield from self._rest(what, previous, payload[at:])
                return
            if previous < self.last_offset:
                record = self._record(payload[cursor.at : at], previous)
                previous = record.offset
                yield record
        if at < len(payload):
            what = f"expected {self._count} records in the batch, got {len(payload) - at} bytes behind them"
            yield from self._rest(what, previous, payload[at:])

    def _record(self, body: bytes, previous: int) -> BatchRecord:
        found = Fields()
        cursor = Cursor(body, 0, len(body))
        try:
            found.read(cursor)
        except ValueError as exc:
            found.why = str(exc)
        timestamp = self._timestamp
        if found.timestamp_delta is not None and not self._attributes & _APPEND_TIME:
            timestamp = self._first_timestamp + found.timestamp_delta
        offset = None if found.offset_delta is None else self.first_offset + found.offset_delta
        if offset is None or not previous < offset <= self.last_offset:
            found.why = found.why or f"offset: expected {previous + 1} to {self.last_offset}, got {offset}"
            offset = previous + 1
        why = "; ".join(filter(None, (self.fault, found.why)))
        if not why:
            return BatchRecord(offset, timestamp, found.key, found.value, tuple(found.headers))
        part, content = ("value", found.value) if found.has_value else ("record", body)
        value = Unreadable(why, offset, part, content, found.key, tuple(found.headers))  # type: ignore[arg-type]
        return BatchRecord(offset, timestamp, None, value)

    def _rest(self, what: str, previous: int, content: bytes) -> Iterator[BatchRecord]:
        """Cover the offsets whose records cannot be told apart; none may be left."""
        if previous < self.last_offset:
            why = "; ".join(filter(None, (self.fault, what)))
            yield self._unreadable(why, previous + 1, content)

    def _unreadable(self, why: str, first_offset: int, content: bytes) -> BatchRecord:
        if first_offset < self.last_offset:
            why = f"offsets {first_offset} to {self.last_offset}: {why}"
        value = Unreadable(why, first_offset, "batch", content)
        return BatchRecord(self.last_offset, self._timestamp, None, value)
