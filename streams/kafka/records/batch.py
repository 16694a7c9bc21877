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

Headers = tuple[tuple[str, bytes | None], ...]
Crc32c = Callable[[bytes], int]

_HEADER = struct.Struct(">qiibIhiqqqhii")
_ATTRIBUTES_AT = 21
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_MAX_VARINT_BYTES = 10
_NO_TIMESTAMP = -1
_SHOWN_BYTES = 40


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
        self.fault: str | None = None
        self._timestamp, self._attributes, self._count = _NO_TIMESTAMP, 0, 0
        self.first_offset: int = struct.unpack_from(">q", raw)[0]
        claimed = self._read_header(crc32c)
        if following is not None and (self.fault or claimed >= following):
            # Gaps of compaction may be among these offsets; records of a damaged batch must not be left out.
            claimed = following - 1
        self.last_offset = max(self.first_offset, claimed)

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

    def _read_header(self, crc32c: Crc32c) -> int:
        """Read the header; returns the last offset that it claims."""
        raw = self._raw
        if len(raw) < _HEADER.size or raw[16] != 2:
            magic = f", magic {raw[16]}" if len(raw) > 16 else ""
            self.fault = f"expected a record batch of format 2, got {len(raw)} bytes{magic}"
            return self.first_offset
        (_, _, _, _, crc, attributes, delta, first, newest, producer, _, _, count) = _HEADER.unpack_from(raw)
        found = crc32c(raw[_ATTRIBUTES_AT:])
        if found != crc:
            self.fault = f"damaged batch: expected CRC-32C {crc:#010x}, got {found:#010x}"
        self._attributes, self._count, self.producer_id = attributes, count, producer
        self.is_transactional = bool(attributes & _TRANSACTIONAL)
        self.is_control = bool(attributes & _CONTROL)
        self._first_timestamp, self._timestamp = first, newest
        last: int = self.first_offset + delta
        return last

    def _all_records(self) -> Iterator[BatchRecord]:
        raw = self._raw
        if len(raw) < _HEADER.size or raw[16] != 2:
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
            cursor = _Cursor(payload, at, len(payload))
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
        found = _Fields()
        cursor = _Cursor(body, 0, len(body))
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


class _Fields:
    """The fields of a record, as far as they were read."""

    def __init__(self) -> None:
        self.timestamp_delta: int | None = None
        self.offset_delta: int | None = None
        self.key: bytes | None = None
        self.value: bytes | None = None
        self.has_value = False
        self.headers: list[tuple[str, bytes | None]] = []
        self.why = ""

    def read(self, cursor: "_Cursor") -> None:
        """Read all fields in order; raises `ValueError` at the first that cannot be read."""
        cursor.take(1, "attributes")
        self.timestamp_delta = cursor.varint("timestamp")
        self.offset_delta = cursor.varint("offset")
        self.key = cursor.field("key")
        self.value = cursor.field("value")
        self.has_value = True
        count = cursor.varint("number of headers")
        if count < 0:
            msg = f"number of headers: expected 0 or more, got {count}"
            raise ValueError(msg)
        for number in range(count):
            name = cursor.field(f"name of header {number + 1}")
            if name is None:
                msg = f"name of header {number + 1}: expected text, got null"
                raise ValueError(msg)
            self.headers.append((self._name(name, number), cursor.field(f"value of header {number + 1}")))
        if cursor.at < cursor.end:
            msg = f"expected the record to end behind its headers, got {cursor.end - cursor.at} bytes more"
            raise ValueError(msg)

    def _name(self, name: bytes, number: int) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            self.why = self.why or f"name of header {number + 1}: expected UTF-8, got {name[:_SHOWN_BYTES]!r}"
            return name.decode(errors="backslashreplace")


class _Cursor:
    """A position in bytes; every read is checked against their end."""

    def __init__(self, raw: bytes, at: int, end: int) -> None:
        self.raw, self.at, self.end = raw, at, end

    def varint(self, what: str) -> int:
        """Read a zigzag varint of at most 64 bits."""
        value = 0
        for number in range(_MAX_VARINT_BYTES):
            if self.at >= self.end:
                break
            byte = self.raw[self.at]
            self.at += 1
            value |= (byte & 0x7F) << (7 * number)
            if not byte & 0x80:
                return (value >> 1) ^ -(value & 1)
        msg = f"{what}: expected a number, got bytes that are none"
        raise ValueError(msg)

    def field(self, what: str) -> bytes | None:
        """Read bytes behind their length; None for a length of -1."""
        length = self.varint(f"length of the {what}")
        return None if length < 0 else self.take(length, what)

    def take(self, length: int, what: str) -> bytes:
        """Read that many bytes."""
        end = self.end_of(length, what)
        found, self.at = self.raw[self.at : end], end
        return found

    def end_of(self, length: int, what: str) -> int:
        """Return where so many bytes from here end."""
        if not 0 <= length <= self.end - self.at:
            msg = f"{what}: expected at most {self.end - self.at} bytes, got a length of {length}"
            raise ValueError(msg)
        return self.at + length
