"""Decoding and validation of topic values: returns a validated record or raises `BadRecord` with a reason code.

Strict JSON everywhere: UTF-8, no NaN, numbers are never parsed from strings. Unknown fields are ignored, so that
producers may be newer than we are. The key must equal the payload's id, because partitions, states and answers depend
on the key. `models.records.times` bounds times; they are compared with the record's own Kafka timestamp, not with the
wall clock: reading the same log again gives the same result.

Some producers set no Kafka timestamp. What is read again later, listens and items, then has a fixed bound,
`times.LATEST_UNSTAMPED_AT`. What is acted upon when it arrives, session-starts, erasures and what live items send, is
compared with the wall clock: an erasure of a later year would refuse all listens of its user until then.

Listens are the hot path: a msgspec struct, 0.8 µs with all checks for 233 bytes on a busy core (pydantic: 3.4).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

import msgspec
from pydantic import ValidationError

from sidestream.models.data.rows import ListenRow
from sidestream.models.records import (
    CatalogItem,
    Listen,
    LiveListeners,
    LiveSegment,
    Record,
    SessionStart,
    UserErasure,
    times,
)
from sidestream.models.records.base import MAX_ID_CHARS, without_nulls
from sidestream.models.records.faults import fault_of
from sidestream.models.records.malformed import not_json
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import BadRecord
from sidestream.streams.runtime.clock import WallClock

MAX_DETAIL_CHARS = 300

RecordT = TypeVar("RecordT", bound=Record)
ItemRecordT = TypeVar("ItemRecordT", LiveSegment, LiveListeners)
TimedT = TypeVar("TimedT", SessionStart, CatalogItem, UserErasure, LiveSegment, LiveListeners)


class Reason(StrEnum):
    """Why a record is a dead letter: value of the reason header and of the counter's label."""

    NULL_VALUE = "null_value"
    OVERSIZE = "oversize"
    NOT_JSON = "not_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_VALUE = "bad_value"
    KEY_MISMATCH = "key_mismatch"
    ABSURD_TIME = times.ABSURD_TIME
    WRONG_PARTITION = "wrong_partition"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a record.

    Attributes:
        max_value_bytes: Size of a value.
        max_future_ms: How far `at` may be after the record's Kafka timestamp.
        max_past_ms: How far it may be before; None accepts any time in the past.
        wall_ms: UTC epoch milliseconds, for requests without a Kafka timestamp.
    """

    max_value_bytes: int = 262_144
    max_future_ms: int = 600_000
    max_past_ms: int | None = None
    wall_ms: Callable[[], int] = field(default=WallClock(), compare=False)

    @classmethod
    def from_settings(cls, settings: TopicSettings) -> "Limits":
        """Read the limits from the topic settings."""
        return cls(settings.max_value_bytes, settings.max_future_ms, settings.max_past_ms)


DEFAULT_LIMITS = Limits()

_LISTEN_REQUIRED = tuple(field.name for field in msgspec.structs.fields(ListenRow) if field.required)
_listen_decoder = msgspec.json.Decoder(ListenRow)


def decode_listen(
    key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits = DEFAULT_LIMITS
) -> ListenRow:
    """Decode one value of `listen-events.v1`.

    Args:
        key: Record key, must be the `user_id`.
        value: Record value.
        timestamp_ms: The record's Kafka timestamp; -1 if it has none.
        limits: Limits of the record.

    Returns:
        The listen.

    Raises:
        BadRecord: For every invalid record; no other exception is raised.
    """
    value = _require_value(value, limits)
    try:
        if not value.isascii():
            value.decode()  # msgspec skips unknown fields without checking their bytes
        listen = _listen_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        listen = _listen_without_nulls(value, error)
    if key != listen.user_id.encode():
        raise _key_mismatch(key, "user_id", listen.user_id)
    if timestamp_ms >= 0:
        _check_time(listen.at, timestamp_ms, limits)
    else:
        _check_unstamped(listen.at, times.LATEST_UNSTAMPED_AT)
    return listen


def decode_session_start(
    key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits = DEFAULT_LIMITS
) -> SessionStart:
    """Decode one value of `session-starts.v1`.

    Args:
        key: Record key, must be the `user_id`.
        value: Record value.
        timestamp_ms: The record's Kafka timestamp; -1 if it has none.
        limits: Limits of the record.

    Returns:
        The session-start.

    Raises:
        BadRecord: For every invalid record; no other exception is raised.
    """
    return _decode_keyed(SessionStart, "user_id", key, value, timestamp_ms, limits)


def decode_catalog_item(
    key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits = DEFAULT_LIMITS
) -> CatalogItem | None:
    """Decode one value of `catalog-items.v1`.

    Args:
        key: Record key, must be the `item_id`; `decode_item_key` reads it.
        value: Record value; None removes the item.
        timestamp_ms: The record's Kafka timestamp; -1 if it has none.
        limits: Limits of the record.

    Returns:
        The item; None if the record removes the item of its key.

    Raises:
        BadRecord: For every invalid record; no other exception is raised.
    """
    _require_readable(value)
    decode_item_key(key)
    return None if value is None else _decode_keyed(CatalogItem, "item_id", key, value, timestamp_ms, limits)


def decode_of_item(
    model: type[ItemRecordT], key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits = DEFAULT_LIMITS
) -> ItemRecordT:
    """Decode a value about one item at one point in time, which is never null.

    Args:
        model: Record class of the value.
        key: Record key, must be the `item_id`.
        value: Record value.
        timestamp_ms: The record's Kafka timestamp; -1 if it has none.
        limits: Limits of the record.

    Returns:
        The record.

    Raises:
        BadRecord: For every invalid record; no other exception is raised.
    """
    return _decode_keyed(model, "item_id", key, value, timestamp_ms, limits)


def decode_user_erasure(
    key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits = DEFAULT_LIMITS
) -> UserErasure | None:
    """Decode one value of `user-erasures.v1`.

    Args:
        key: Record key, must be the `user_id`.
        value: Record value; None ends the erasure of the key's user.
        timestamp_ms: The record's Kafka timestamp; -1 if it has none.
        limits: Limits of the record; `max_past_ms` is ignored.

    Returns:
        The erasure; None if the record ends one.

    Raises:
        BadRecord: For every invalid record, also for an erasure far ahead, which would reject all listens until then.
    """
    _require_readable(value)
    _decode_key(key, "user_id")
    limits = replace(limits, max_past_ms=None)
    return None if value is None else _decode_keyed(UserErasure, "user_id", key, value, timestamp_ms, limits)


def decode_item_key(key: bytes | None) -> str:
    """Read the key of a record that is keyed by item.

    Args:
        key: Record key.

    Returns:
        The item id.

    Raises:
        BadRecord: The key is missing, not UTF-8, empty or too long.
    """
    return _decode_key(key, "item_id")


def _listen_without_nulls(value: bytes, error: Exception) -> ListenRow:
    """Decode a refused listen without its fields that are null, or raise what is wrong with it."""
    if isinstance(error, msgspec.ValidationError) and (filled := without_nulls(value, _LISTEN_REQUIRED)) is not None:
        with suppress(msgspec.ValidationError):
            return _listen_decoder.decode(filled)
    raise _refusal(Listen, value, error) from error


def _decode_keyed(
    model: type[TimedT], id_field: str, key: bytes | None, value: bytes | None, timestamp_ms: int, limits: Limits
) -> TimedT:
    """Decode a value that is keyed by one of its fields and has a time."""
    record = _decode_model(model, _require_value(value, limits))
    expected: str = getattr(record, id_field)
    if key != expected.encode():
        raise _key_mismatch(key, id_field, expected)
    if timestamp_ms >= 0:
        _check_time(record.at, timestamp_ms, limits)
    elif isinstance(record, CatalogItem):
        _check_unstamped(record.at, times.LATEST_UNSTAMPED_AT)
    else:
        _check_unstamped(record.at, limits.wall_ms() + limits.max_future_ms)
    return record


def _decode_key(key: bytes | None, name: str) -> str:
    try:
        found = (key or b"").decode()
    except UnicodeDecodeError as error:
        detail = _short(f"expected the {name} as key, got bytes that are not UTF-8: {(key or b'')[:80]!r}")
        raise BadRecord(Reason.KEY_MISMATCH, detail) from error
    if not 0 < len(found) <= MAX_ID_CHARS:
        detail = f"expected the {name} of 1 to {MAX_ID_CHARS} characters as key, got {len(found)}"
        raise BadRecord(Reason.KEY_MISMATCH, detail)
    return found


def _require_readable(value: bytes | None) -> None:
    if isinstance(value, Unreadable):
        raise BadRecord(Reason.UNREADABLE, _short(value.why))


def _require_value(value: bytes | None, limits: Limits) -> bytes:
    if value is None:
        raise BadRecord(Reason.NULL_VALUE, "expected a JSON object, got no value")
    if not value:
        _require_readable(value)
    if len(value) > limits.max_value_bytes:
        told = f"expected at most {limits.max_value_bytes} bytes (topics.max_value_bytes), got {len(value)}"
        raise BadRecord(Reason.OVERSIZE, told)
    return value


def _decode_model(model: type[RecordT], value: bytes) -> RecordT:
    try:
        value.decode()
        msgspec.json.decode(value)  # pydantic alone would let NaN, Infinity and 1e999 pass
        return model.from_json(value, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(model, value, error) from error
    except ValidationError as error:
        raise _fault(error) from error


def _check_time(at: int, timestamp_ms: int, limits: Limits) -> None:
    ahead_ms = at - timestamp_ms
    if ahead_ms > limits.max_future_ms:
        told = f"{ahead_ms} ms after the record's timestamp, the limit is {limits.max_future_ms} (topics.max_future_ms)"
    elif limits.max_past_ms is not None and -ahead_ms > limits.max_past_ms:
        told = f"{-ahead_ms} ms before the record's timestamp, the limit is {limits.max_past_ms} (topics.max_past_ms)"
    else:
        return
    raise BadRecord(Reason.ABSURD_TIME, f"at {at} is {told}; the clocks differ, or local time was sent as UTC")


def _check_unstamped(at: int, latest_at: int) -> None:
    if at > latest_at:
        detail = (
            f"at {at} is {at - latest_at} ms after {latest_at}, the limit of a record without a Kafka timestamp; "
            "the clock is ahead, or the producer should set timestamps"
        )
        raise BadRecord(Reason.ABSURD_TIME, detail)


def _key_mismatch(key: bytes | None, name: str, expected: str) -> BadRecord:
    got = "no key" if key is None else repr(key[:80])
    return BadRecord(Reason.KEY_MISMATCH, _short(f"expected the {name} {expected[:80]!r} as key, got {got}"))


def _refusal(model: type[Record], value: bytes, error: Exception) -> BadRecord:
    """Create the error of a value that msgspec refused, in the words of the model with the same fields."""
    if not isinstance(error, msgspec.ValidationError):
        return BadRecord(Reason.NOT_JSON, _short(f"expected one JSON object in UTF-8: {not_json(value)}"))
    try:
        model.from_json(value, strict=True)
    except ValidationError as fault:
        return _fault(fault)
    return BadRecord(Reason.BAD_VALUE, _short(str(error)))  # such as a number in an unknown field that no double holds


def _fault(error: ValidationError) -> BadRecord:
    kind = error.errors(include_url=False, include_input=False, include_context=False)[0]["type"]
    detail = _short(fault_of(error))
    if kind == "missing":
        return BadRecord(Reason.MISSING_FIELD, detail)
    if kind == times.ABSURD_TIME:
        return BadRecord(Reason.ABSURD_TIME, detail)
    if kind == "json_invalid":
        return BadRecord(Reason.NOT_JSON, detail)
    is_type = kind.endswith(("_type", "_parsing")) or kind == "int_from_float"
    return BadRecord(Reason.WRONG_TYPE if is_type else Reason.BAD_VALUE, detail)


def _short(text: str) -> str:
    return text if len(text) <= MAX_DETAIL_CHARS else text[: MAX_DETAIL_CHARS - 1] + "…"
