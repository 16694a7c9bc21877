"""What foreign producers send: listens, and records that are odd or wrong in known ways, each with its expected end."""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sidestream.streams.contracts.decode import Reason
from sidestream.streams.contracts.settings import PartitionerName
from tests.integration.wire.odd_records import BAD_NAME, MANY_HEADERS, Row

HOUR_MS = 3_600_000
# Kafka refuses timestamps that are an hour ahead (message.timestamp.after.max.ms).
AHEAD_MS = HOUR_MS - 60_000
LISTEN_MS = 1_000

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Record:
    """A record, and what must become of it; key and value together are unique within a run.

    Attributes:
        key: Key.
        value: Value.
        headers: Headers.
        stamp_ms: Kafka timestamp; None for the producer's clock.
        reason: Why it must be a dead letter; None: it must be folded, if it is in its user's partition.
        is_hidden: Whether it is part of a transaction that is not committed: nothing may come of it.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    stamp_ms: int | None = None
    reason: Reason | None = None
    is_hidden: bool = False

    @property
    def sent(self) -> Row:
        """As the senders of `odd_records` take it."""
        row = (self.key, self.value, list(self.headers))
        return row if self.stamp_ms is None else (*row, self.stamp_ms)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one producer has sent.

    Attributes:
        producer: Its name in the results.
        records: In order.
        partitioner: Hash by which it must have chosen the partitions; None where it did not choose by the key.
    """

    producer: str
    records: Sequence[Record]
    partitioner: PartitionerName | None = None


def listen(user: str, number: int, at_ms: int, **fields: object) -> bytes:
    """Make up the value of a listen."""
    value = {"event_id": f"{user}/{number}", "user_id": user, "item_id": f"track-{number % 97}", "at": at_ms}
    return json.dumps({**value, **fields}).encode()


def listens(producer: str, users: int, each: int, now_ms: int) -> list[Record]:
    """Make up listens of users that only this producer knows, the last one just now."""
    records = []
    for number in range(each):
        at_ms = now_ms - (each - number) * LISTEN_MS
        records += [
            Record(user.encode(), listen(user, number, at_ms))
            for user in (f"{producer}/user-{one}" for one in range(users))
        ]
    return records


def hidden(records: Iterable[Record]) -> list[Record]:
    """The same records in a transaction that is never committed."""
    return [replace(record, is_hidden=True) for record in records]


def wrong(producer: str, now_ms: int) -> list[Record]:
    """Records of which none can be folded, as producers in the field send them by mistake."""

    def named(what: str, **fields: object) -> tuple[bytes, bytes]:
        user = f"{producer}/{what}"
        return user.encode(), listen(user, 0, now_ms, **fields)

    framed = b"\x00" + struct.pack(">i", 7)
    _, keyless = named("no key")
    _, empty_key = named("empty key")
    quoted_key, quoted = named("key in quotes")
    framed_key, of_framed_key = named("framed key")
    framed_user, framed_value = named("framed value")
    connect_user, payload = named("connect")
    envelope = json.dumps({"schema": {"type": "struct"}, "payload": json.loads(payload)}).encode()
    return [
        Record(None, keyless, reason=Reason.KEY_MISMATCH),
        Record(b"", empty_key, reason=Reason.KEY_MISMATCH),
        Record(b'"' + quoted_key + b'"', quoted, reason=Reason.KEY_MISMATCH),
        Record(framed + framed_key, of_framed_key, reason=Reason.KEY_MISMATCH),
        Record(framed_user, framed + framed_value, reason=Reason.NOT_JSON),
        Record(connect_user, envelope, reason=Reason.MISSING_FIELD),
        Record(f"{producer}/empty value".encode(), b"", reason=Reason.NOT_JSON),
        tombstone(producer),
        Record(*named("seconds", at=now_ms // 1_000), reason=Reason.ABSURD_TIME),
        Record(*named("microseconds", at=now_ms * 1_000), reason=Reason.ABSURD_TIME),
        Record(*named("text for a number", at=str(now_ms)), reason=Reason.WRONG_TYPE),
    ]


def tombstone(producer: str) -> Record:
    """A key without a value, which removes nothing from a topic of events."""
    return Record(f"{producer}/tombstone".encode(), None, reason=Reason.NULL_VALUE)


def odd_headers(now_ms: int) -> list[Record]:
    """Headers that are unusual and none of our business: the listen counts, or is wrong for its own reason."""
    many: Headers = [(f"h{number}", b"%d" % number) for number in range(500)]
    odd: Headers = [("", b"no name"), ("same", b"1"), ("same", b"2"), ("null", None), ("empty", b""), ("b", b"\xff\0")]
    return [
        Record(b"many-headers", listen("many-headers", 0, now_ms), many),
        Record(b"odd-headers", listen("odd-headers", 0, now_ms), odd),
        Record(b"many-headers", b"{many", many, reason=Reason.NOT_JSON),
        Record(b"odd-headers", b"{odd", odd, reason=Reason.NOT_JSON),
    ]


def huge_headers(now_ms: int) -> list[Record]:
    """A megabyte of headers, more than most producers may send, and headers by the hundred thousand."""
    huge: Headers = [("huge", b"x" * 1_000_000)]
    return [
        Record(b"huge-headers", listen("huge-headers", 0, now_ms), huge),
        Record(b"huge-headers", b"{huge", huge, reason=Reason.NOT_JSON),
        Record(b"most-headers", listen("most-headers", 0, now_ms), MANY_HEADERS),
        Record(b"most-headers", b"{most", MANY_HEADERS, reason=Reason.NOT_JSON),
    ]


def unreadable_headers(now_ms: int) -> list[Record]:
    """Header names that are not UTF-8: Python clients cannot read them, brokers that compress again replace them."""
    return [
        Record(b"latin-name", listen("latin-name", 0, now_ms), BAD_NAME, reason=Reason.UNREADABLE),
        Record(b"latin-name", None, BAD_NAME, reason=Reason.UNREADABLE),
    ]


def other_clocks(now_ms: int) -> list[Record]:
    """Clocks of producers and of devices that are an hour behind or ahead."""

    def record(name: str, at_ms: int, stamp_ms: int, reason: Reason | None = None) -> Record:
        return Record(name.encode(), listen(name, 0, at_ms), stamp_ms=stamp_ms, reason=reason)

    return [
        record("both-behind", now_ms - HOUR_MS, now_ms - HOUR_MS),
        record("both-ahead", now_ms + AHEAD_MS, now_ms + AHEAD_MS),
        record("device-behind", now_ms - HOUR_MS, now_ms),
        record("device-ahead", now_ms + HOUR_MS, now_ms, Reason.ABSURD_TIME),
        record("producer-ahead", now_ms, now_ms + AHEAD_MS),
        # The record looks as if it was heard an hour after it was sent.
        record("producer-behind", now_ms, now_ms - HOUR_MS, Reason.ABSURD_TIME),
    ]
