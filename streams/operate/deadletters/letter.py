"""One dead letter: where it lies, where it came from, why, and the record as it was; and the mark that it was replayed.

Marks are records of the dead-letter topic itself: `__streams.replayed` as header, `{"offsets": [...]}` as value, in the
partition of the letters they name and therefore behind them. Retention deletes from the front, so a mark outlives its
letters, every machine sees it, and one transaction holds a replayed record and its mark.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sidestream.streams.contracts.deadletters import (
    ATTEMPT_HEADER,
    CUT_HEADER,
    CUT_HEADERS_HEADER,
    CUT_KEY_HEADER,
    EXCEPTION_HEADER,
    MESSAGE_HEADER,
    NULL_VALUE_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    TIMESTAMP_HEADER,
    TOPIC_HEADER,
)
from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.tail import TopicRecord

REPLAYED_HEADER = "__streams.replayed"
FOREIGN = "foreign"
"""Reason of a record that lies among the dead letters but was not put there by us."""
_CUT_HEADERS = {"value": CUT_HEADER, "key": CUT_KEY_HEADER, "headers": CUT_HEADERS_HEADER}

Headers = tuple[tuple[str, bytes], ...]


class Place(NamedTuple):
    """Where a dead letter lies; printed as `listen-events.v1.dlq/3/17`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read a printed place.

        Args:
            text: `topic/partition/offset`.

        Returns:
            The place.

        Raises:
            SettingsError: It is not one.
        """
        topic, _, numbers = text.partition("/")
        partition, _, offset = numbers.partition("/")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            msg = f"{text}: expected topic/partition/offset of a dead letter, as `sidestream dlq list` prints it"
            raise SettingsError(msg)
        return cls(topic, int(partition), int(offset))


class Source(NamedTuple):
    """Where the record was consumed; `timestamp` is its own Kafka timestamp in milliseconds, -1 for none."""

    topic: str
    partition: int
    offset: int
    timestamp: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        place: Where it lies.
        buried_at: Kafka timestamp of the dead letter itself.
        source: Where the record came from; none for one that was not put here by us.
        reason: Reason code.
        exception: Name of the error.
        message: What was expected and what came.
        key: Original key.
        value: Original bytes; only the first of them where it is cut.
        headers: Original headers, in their order.
        cut: What no broker takes whole and was cut, with its original size: value, key (bytes), headers (number).
    """

    place: Place
    buried_at: int
    source: Source | None
    reason: str
    exception: str
    message: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    cut: Mapping[str, int] = field(default_factory=dict)

    @property
    def attempt(self) -> int:
        """How often the record was delivered to its topic before it became this letter."""
        found = [value for name, value in self.headers if name == ATTEMPT_HEADER]
        return max(1, int(found[-1])) if found and found[-1].isdigit() else 1

    @property
    def obstacle(self) -> str | None:
        """What keeps the letter from being replayed: `foreign`, `cut`, `empty` (clients cannot send it), or none."""
        if self.source is None:
            return FOREIGN
        if self.cut:
            return "cut"
        return "empty" if self.key is None and self.value is None else None

    def next_headers(self) -> list[tuple[str, bytes]]:
        """Return the headers for its next delivery: the original ones, and the attempt increased."""
        kept = [(name, value) for name, value in self.headers if name != ATTEMPT_HEADER]
        return [*kept, (ATTEMPT_HEADER, str(self.attempt + 1).encode())]


def read_letter(topic: str, record: TopicRecord) -> Letter:
    """Take a record of a dead-letter topic apart.

    Args:
        topic: The dead-letter topic.
        record: One of its records, not a mark.

    Returns:
        The letter. A record without our headers, or with damaged ones, is `foreign` and keeps all of its headers.
    """
    place = Place(topic, record.partition, record.offset)
    starts = [number for number, (name, _) in enumerate(record.headers) if name == TOPIC_HEADER]
    ours = {name: value.decode(errors="replace") for name, value in record.headers[starts[-1] :]} if starts else {}
    try:
        source = Source(
            ours[TOPIC_HEADER], int(ours[PARTITION_HEADER]), int(ours[OFFSET_HEADER]), int(ours[TIMESTAMP_HEADER])
        )
        cut = {what: int(ours[name]) for what, name in _CUT_HEADERS.items() if name in ours}
        reason, exception, message = ours[REASON_HEADER], ours[EXCEPTION_HEADER], ours[MESSAGE_HEADER]
    except (KeyError, ValueError):
        return Letter(
            place, record.timestamp, None, FOREIGN, "", "no headers of ours", record.key, record.value, record.headers
        )
    value = None if NULL_VALUE_HEADER in ours else record.value
    original = record.headers[: starts[-1]]
    return Letter(place, record.timestamp, source, reason, exception, message, record.key, value, original, cut)


def mark(offsets: Iterable[int]) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Say that letters of one partition were replayed.

    Args:
        offsets: Their offsets on the dead-letter topic.

    Returns:
        Value and headers of the mark.
    """
    return json.dumps({"offsets": sorted(offsets)}).encode(), [(REPLAYED_HEADER, b"1")]


def marked(record: TopicRecord) -> frozenset[int] | None:
    """Read a mark.

    Args:
        record: Any record of a dead-letter topic.

    Returns:
        Offsets of the letters it names; none where the record is no mark.
    """
    names = {name for name, _ in record.headers}
    # A bad record may have come with any header; as a letter it has ours too.
    if REPLAYED_HEADER not in names or TOPIC_HEADER in names:
        return None
    try:
        offsets = json.loads(record.value or b"")["offsets"]
        return frozenset(int(offset) for offset in offsets)
    except (ValueError, TypeError, KeyError):
        return frozenset()
