"""Dead letters: format of a malformed record on its `<topic>.dlq`, without loss of data.

Key and value are the original bytes and the original headers come first, so that a fixed consumer can replay them. Of a
record that no client library could read they are what could be read of it, else the bytes of the record or batch. Our
headers have the names of Kafka Streams, plus the reason code used by counters and operators. They follow all original
headers and begin with the topic header, so that a record that already had such headers keeps its own.

Source: KIP-1034, dead letter queues in Kafka Streams (header names).
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from sidestream.streams.contracts.guess import guess
from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import BadRecord

HEADER_PREFIX = "__streams.errors."
REASON_HEADER = HEADER_PREFIX + "reason"
TOPIC_HEADER = HEADER_PREFIX + "topic"
PARTITION_HEADER = HEADER_PREFIX + "partition"
OFFSET_HEADER = HEADER_PREFIX + "offset"
TIMESTAMP_HEADER = HEADER_PREFIX + "timestamp"
EXCEPTION_HEADER = HEADER_PREFIX + "exception"
MESSAGE_HEADER = HEADER_PREFIX + "message"
CUT_HEADER = HEADER_PREFIX + "cut_from_bytes"
# Number of deliveries of a record to its topic, counted by replays; a record without it was delivered once.
ATTEMPT_HEADER = "x-attempt"

CUT_KEY_HEADER = HEADER_PREFIX + "key_cut_from_bytes"
CUT_HEADERS_HEADER = HEADER_PREFIX + "headers_cut_from"
# Clients refuse to send a record that has neither key nor value, although they can receive one.
NULL_VALUE_HEADER = HEADER_PREFIX + "value_was_null"
# Of records that no client library could read: the offset header names the last of several, this one the first.
FIRST_OFFSET_HEADER = HEADER_PREFIX + "first_offset"
# Present if the bytes are not the record's own value, but all of the record or of its batch: "record" or "batch".
CONTENT_HEADER = HEADER_PREFIX + "content"

# A compressed record can be far larger than what the broker accepts uncompressed; the source topic keeps it whole.
MAX_DEAD_VALUE_BYTES = 1 << 20
# Key, headers and value together, which leaves space for our headers below the topic's `DEAD_LETTER_MAX_BYTES`.
MAX_DEAD_BYTES = MAX_DEAD_VALUE_BYTES + 131_072
_MAX_SIDE_BYTES = 65_536
# Headers of 3 bytes each fit into a record by the hundred thousand. The event loop takes 1 us for each one of a letter.
MAX_DEAD_HEADERS = 4_096

Headers = Iterable[tuple[str, bytes | None]]


class SourceRecord(Protocol):
    """A consumed record of aiokafka or kafka-python."""

    @property
    def topic(self) -> str:
        """Source topic."""

    @property
    def partition(self) -> int:
        """Source partition."""

    @property
    def offset(self) -> int:
        """Source offset."""

    @property
    def timestamp(self) -> int:
        """Kafka timestamp in milliseconds."""

    @property
    def key(self) -> bytes | None:
        """Key bytes."""

    @property
    def value(self) -> bytes | None:
        """Value bytes."""

    @property
    def headers(self) -> Headers:
        """Headers in their order."""


class DeadLetter(NamedTuple):
    """A record for a dead-letter topic, ready to send."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def dead_letter(record: SourceRecord, error: BadRecord) -> DeadLetter:
    """Build the dead letter of a malformed record.

    Args:
        record: The record as it was consumed.
        error: What is wrong with it.

    Returns:
        The same key and bytes for `<topic>.dlq`, with the original headers followed by ours. Only what no broker would
        accept is truncated, which a header records: every record must fit, or it would block its partition forever.
    """
    key, value, given = record.key, record.value, record.headers
    hint = ""
    unreadable = value if isinstance(value, Unreadable) else None
    if unreadable is None:
        hint = guess(key, value, str(error))
    else:
        key, value, given = unreadable.key, unreadable.content, unreadable.headers
    # Clients cannot send a header without a value, although they can receive one.
    headers = [(name, content or b"") for name, content in given or ()]
    ours = {
        TOPIC_HEADER: record.topic,  # first: it marks where the original headers end
        PARTITION_HEADER: str(record.partition),
        OFFSET_HEADER: str(record.offset),
        TIMESTAMP_HEADER: str(record.timestamp),
        EXCEPTION_HEADER: type(error).__name__,
        MESSAGE_HEADER: "; ".join(filter(None, (str(error), hint))),
        REASON_HEADER: error.reason,
    }
    if unreadable is not None:
        ours |= _place_and_content(record.offset, unreadable)
    if value is not None and len(value) > MAX_DEAD_VALUE_BYTES:
        ours[CUT_HEADER] = str(len(value))
        value = value[:MAX_DEAD_VALUE_BYTES]
    size = len(key or b"") + len(value or b"") + sum(map(_size, headers))
    if size > MAX_DEAD_BYTES or len(headers) > MAX_DEAD_HEADERS:
        key, headers = _cut_sides(key, headers, ours)
    if key is None and value is None:
        ours[NULL_VALUE_HEADER] = "1"
        value = b""
    headers += [(name, text.encode(errors="replace")) for name, text in ours.items()]
    return DeadLetter(record.topic + DEAD_LETTER_SUFFIX, key, value, headers)


def _place_and_content(offset: int, unreadable: Unreadable) -> dict[str, str]:
    first = {} if unreadable.first_offset == offset else {FIRST_OFFSET_HEADER: str(unreadable.first_offset)}
    return first if unreadable.part == "value" else first | {CONTENT_HEADER: unreadable.part}


def _cut_sides(
    key: bytes | None, headers: list[tuple[str, bytes]], ours: dict[str, str]
) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Truncate a huge key, and drop the headers that do not fit; a small one behind a huge one stays."""
    if key is not None and len(key) > _MAX_SIDE_BYTES:
        ours[CUT_KEY_HEADER] = str(len(key))
        key = key[:_MAX_SIDE_BYTES]
    kept: list[tuple[str, bytes]] = []
    left = _MAX_SIDE_BYTES
    for header in headers:
        if len(kept) == MAX_DEAD_HEADERS:
            break
        if (size := _size(header)) <= left:
            kept.append(header)
            left -= size
    if len(kept) < len(headers):
        ours[CUT_HEADERS_HEADER] = str(len(headers))
    return key, kept


def _size(header: tuple[str, bytes]) -> int:
    name, content = header
    return len(name.encode(errors="replace")) + len(content) + 10
