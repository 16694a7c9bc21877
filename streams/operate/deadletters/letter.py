"""One dead letter: its place, its source, its reason and the original record; and the mark of a replay.

Marks are records of the dead-letter topic itself: `__streams.replayed` as header, `{"offsets": [...]}` as value, in the
partition of the letters that they name and therefore after them. Retention deletes from the front, so a mark outlives
its letters, every machine sees it, and one transaction contains a replayed record and its mark.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sidestream.streams.contracts.deadletters import (
    ATTEMPT_HEADER,
    CONTENT_HEADER,
    CUT_HEADER,
    CUT_HEADERS_HEADER,
    CUT_KEY_HEADER,
    EXCEPTION_HEADER,
    FIRST_OFFSET_HEADER,
    MESSAGE_HEADER,
    NULL_VALUE_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    TIMESTAMP_HEADER,
    TOPIC_HEADER,
)
from sidestream.streams.contracts.decode import Reason
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.tail import TopicRecord

REPLAYED_HEADER = "__streams.replayed"
FOREIGN = "foreign"
"""Reason of a record in a dead-letter topic that Sidestream did not write."""
_CUT_HEADERS = {"value": CUT_HEADER, "key": CUT_KEY_HEADER, "headers": CUT_HEADERS_HEADER}

Headers = tuple[tuple[str, bytes], ...]


class Place(NamedTuple):
    """The place of a dead letter; printed as `listen-events.v1.dlq/3/17`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Parse a printed place.

        Args:
            text: `topic/partition/offset`.

        Returns:
            The place.

        Raises:
            SettingsError: The text has another form.
        """
        topic, _, numbers = text.partition("/")
        partition, _, offset = numbers.partition("/")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            msg = f"{text}: expected topic/partition/offset of a dead letter, as `sidestream dlq list` prints it"
            raise SettingsError(msg)
        return cls(topic, int(partition), int(offset))


class Source(NamedTuple):
    """Where the record was consumed; `timestamp` is the record's Kafka timestamp in milliseconds, -1 for none."""

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
        place: Its place in the dead-letter topic.
        died_at: Kafka timestamp of the dead letter itself.
        source: Where the record came from; `None` for a record that Sidestream did not write.
        reason: Reason code.
        exception: Class name of the error.
        message: Expected and actual content.
        key: Original key.
        value: Original bytes; only the first of them if the value was truncated.
        headers: Original headers, in their order.
        cut: Parts too large for a broker that were truncated, with their original size: value, key (bytes), headers
            (number).
        first_offset: Of an unreadable letter that stands for several offsets the first one; the source has the last.
        content: What `value` is if it is not the record's own: "record" or "batch", all of its bytes.
    """

    place: Place
    died_at: int
    source: Source | None
    reason: str
    exception: str
    message: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    cut: Mapping[str, int] = field(default_factory=dict)
    first_offset: int | None = None
    content: str | None = None

    @property
    def attempt(self) -> int:
        """How often the record was delivered to its topic before it became this letter."""
        found = [value for name, value in self.headers if name == ATTEMPT_HEADER]
        return max(1, int(found[-1])) if found and found[-1].isdigit() else 1

    @property
    def obstacle(self) -> str | None:
        """What prevents a replay; `None` if nothing does.

        `foreign`, `unreadable` (it holds what could be read of a record, which is not the record), `cut` or `empty`
        (clients cannot send it).
        """
        if self.source is None:
            return FOREIGN
        if self.reason == Reason.UNREADABLE:
            return str(self.reason)
        if self.cut:
            return "cut"
        return "empty" if self.key is None and self.value is None else None

    def next_headers(self) -> list[tuple[str, bytes]]:
        """Return the headers for its next delivery: the original ones, with the attempt incremented."""
        kept = [(name, value) for name, value in self.headers if name != ATTEMPT_HEADER]
        return [*kept, (ATTEMPT_HEADER, str(self.attempt + 1).encode())]


def read_letter(topic: str, record: TopicRecord) -> Letter:
    """Decode a record of a dead-letter topic.

    Args:
        topic: The dead-letter topic.
        record: One of its records, not a mark.

    Returns:
        The letter. A record without our headers, or with damaged ones, is `foreign` and keeps all of its headers.
    """
    place = Place(topic, record.partition, record.offset)
    if isinstance(record.value, Unreadable):
        found = record.value
        why = f"dead letter that cannot be read: {found.why}"
        headers = tuple((name, value or b"") for name, value in found.headers)
        return Letter(place, record.timestamp, None, FOREIGN, "", why, found.key, found.content, headers)
    starts = [number for number, (name, _) in enumerate(record.headers) if name == TOPIC_HEADER]
    ours = {name: value.decode(errors="replace") for name, value in record.headers[starts[-1] :]} if starts else {}
    try:
        source = Source(
            ours[TOPIC_HEADER], int(ours[PARTITION_HEADER]), int(ours[OFFSET_HEADER]), int(ours[TIMESTAMP_HEADER])
        )
        cut = {what: int(ours[name]) for what, name in _CUT_HEADERS.items() if name in ours}
        reason, exception, message = ours[REASON_HEADER], ours[EXCEPTION_HEADER], ours[MESSAGE_HEADER]
        first_offset = int(ours[FIRST_OFFSET_HEADER]) if FIRST_OFFSET_HEADER in ours else None
    except (KeyError, ValueError):
        return Letter(
            place,
            record.timestamp,
            None,
            FOREIGN,
            "",
            "no Sidestream headers",
            record.key,
            record.value,
            record.headers,
        )
    value = None if NULL_VALUE_HEADER in ours else record.value
    original = record.headers[: starts[-1]]
    content = ours.get(CONTENT_HEADER)
    return Letter(
        place,
        record.timestamp,
        source,
        reason,
        exception,
        message,
        record.key,
        value,
        original,
        cut,
        first_offset,
        content,
    )


def make_mark(offsets: Iterable[int]) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Encode the mark that letters of one partition were replayed.

    Args:
        offsets: Their offsets in the dead-letter topic.

    Returns:
        Value and headers of the mark.
    """
    return json.dumps({"offsets": sorted(offsets)}).encode(), [(REPLAYED_HEADER, b"1")]


def read_mark(record: TopicRecord) -> frozenset[int] | None:
    """Decode a mark.

    Args:
        record: Any record of a dead-letter topic.

    Returns:
        Offsets of the letters that it names; `None` if the record is not a mark.
    """
    names = {name for name, _ in record.headers}
    # A bad record may have any header; as a letter it also has ours.
    if REPLAYED_HEADER not in names or TOPIC_HEADER in names:
        return None
    try:
        offsets = json.loads(record.value or b"")["offsets"]
        return frozenset(int(offset) for offset in offsets)
    except (ValueError, TypeError, KeyError):
        return frozenset()
