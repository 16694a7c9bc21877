"""Dead letters: what a bad record looks like on its `<topic>.dlq`, with nothing lost.

Key and value are the original bytes and the original headers come first, so that a repaired consumer can replay them.
Our headers are named as Kafka Streams names them, plus the reason code that counters and people go by. They come after
all original ones and begin with the topic's, so that a record which came with such headers keeps its own.

Source: KIP-1034, dead letter queues in Kafka Streams (header names).
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from sidestream.streams.contracts.guess import guess
from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX
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
# How often a record was delivered to its topic, counted by replays; a record without it came once.
ATTEMPT_HEADER = "x-attempt"

CUT_KEY_HEADER = HEADER_PREFIX + "key_cut_from_bytes"
CUT_HEADERS_HEADER = HEADER_PREFIX + "headers_cut_from"
# Clients refuse to send a record with neither key nor value, though they can receive one.
NULL_VALUE_HEADER = HEADER_PREFIX + "value_was_null"

# A compressed record can be far larger than the broker takes uncompressed; its whole stays in the source topic.
MAX_DEAD_VALUE_BYTES = 1 << 20
# Key, headers and value together, which leaves room for our headers below the topic's `DEAD_LETTER_MAX_BYTES`.
MAX_DEAD_BYTES = MAX_DEAD_VALUE_BYTES + 131_072
_MAX_SIDE_BYTES = 65_536

Headers = Iterable[tuple[str, bytes | None]]


class SourceRecord(Protocol):
    """A consumed record, as aiokafka and kafka-python give it."""

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
    """Say what goes to the dead letters for a bad record.

    Args:
        record: The record as it was consumed.
        error: What is wrong with it.

    Returns:
        The same key and bytes for `<topic>.dlq`, the original headers followed by ours. Only what no broker would take
        is cut, and a header of ours says so: whatever was read can be buried, or it would stop its partition for ever.
    """
    key, value = record.key, record.value
    # Clients cannot send a header without a value, though they can receive one.
    headers = [(name, content or b"") for name, content in record.headers or ()]
    ours = {
        TOPIC_HEADER: record.topic,  # first: it marks where the original headers end
        PARTITION_HEADER: str(record.partition),
        OFFSET_HEADER: str(record.offset),
        TIMESTAMP_HEADER: str(record.timestamp),
        EXCEPTION_HEADER: type(error).__name__,
        MESSAGE_HEADER: "; ".join(filter(None, (str(error), guess(key, value, str(error))))),
        REASON_HEADER: error.reason,
    }
    if value is not None and len(value) > MAX_DEAD_VALUE_BYTES:
        ours[CUT_HEADER] = str(len(value))
        value = value[:MAX_DEAD_VALUE_BYTES]
    if len(key or b"") + len(value or b"") + _size(headers) > MAX_DEAD_BYTES:
        key, headers = _cut_sides(key, headers, ours)
    if key is None and value is None:
        ours[NULL_VALUE_HEADER] = "1"
        value = b""
    headers += [(name, text.encode(errors="replace")) for name, text in ours.items()]
    return DeadLetter(record.topic + DEAD_LETTER_SUFFIX, key, value, headers)


def _cut_sides(
    key: bytes | None, headers: list[tuple[str, bytes]], ours: dict[str, str]
) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Cut a huge key, and leave out the headers that do not fit."""
    if key is not None and len(key) > _MAX_SIDE_BYTES:
        ours[CUT_KEY_HEADER] = str(len(key))
        key = key[:_MAX_SIDE_BYTES]
    kept: list[tuple[str, bytes]] = []
    for header in headers:
        if _size([*kept, header]) <= _MAX_SIDE_BYTES:
            kept.append(header)
    if len(kept) < len(headers):
        ours[CUT_HEADERS_HEADER] = str(len(headers))
    return key, kept


def _size(headers: list[tuple[str, bytes]]) -> int:
    return sum(len(name.encode(errors="replace")) + len(content) + 10 for name, content in headers)
