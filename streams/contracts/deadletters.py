"""Dead letters: what a bad record looks like on its `<topic>.dlq`, with nothing lost.

Key and value are the original bytes and the original headers come first, so that a repaired consumer can replay them.
Our headers are named as Kafka Streams names them, plus the reason code that counters and people go by.

Source: KIP-1034, dead letter queues in Kafka Streams (header names).
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from streams.contracts.topics import DEAD_LETTER_SUFFIX
from streams.errors import BadRecord

HEADER_PREFIX = "__streams.errors."
REASON_HEADER = HEADER_PREFIX + "reason"
TOPIC_HEADER = HEADER_PREFIX + "topic"
PARTITION_HEADER = HEADER_PREFIX + "partition"
OFFSET_HEADER = HEADER_PREFIX + "offset"
TIMESTAMP_HEADER = HEADER_PREFIX + "timestamp"
EXCEPTION_HEADER = HEADER_PREFIX + "exception"
MESSAGE_HEADER = HEADER_PREFIX + "message"
CUT_HEADER = HEADER_PREFIX + "cut_from_bytes"

# A compressed record can be far larger than the broker takes uncompressed; its whole stays in the source topic.
MAX_DEAD_VALUE_BYTES = 1 << 20

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
        The same key and bytes for `<topic>.dlq`, the original headers followed by ours. Only a value above
        `MAX_DEAD_VALUE_BYTES`, which no broker would take, is cut, and a header says so.
    """
    value = record.value
    ours = {
        TOPIC_HEADER: record.topic,
        PARTITION_HEADER: str(record.partition),
        OFFSET_HEADER: str(record.offset),
        TIMESTAMP_HEADER: str(record.timestamp),
        EXCEPTION_HEADER: type(error).__name__,
        MESSAGE_HEADER: str(error),
        REASON_HEADER: error.reason,
    }
    if value is not None and len(value) > MAX_DEAD_VALUE_BYTES:
        ours[CUT_HEADER] = str(len(value))
        value = value[:MAX_DEAD_VALUE_BYTES]
    # Clients cannot send a header without a value, though they can receive one.
    headers = [(name, content or b"") for name, content in record.headers or ()]
    headers += [(name, text.encode(errors="replace")) for name, text in ours.items()]
    return DeadLetter(record.topic + DEAD_LETTER_SUFFIX, record.key, value, headers)
