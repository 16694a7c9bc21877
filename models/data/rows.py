"""Rows of a log folder: their types, and decoding of the lines of each file.

Listens are the hot path (a training reads millions), so they decode into a msgspec struct with the fields of
`models.records.Listen`; a test keeps the two in step. Catalogue rows and session-starts are pydantic records. A struct
checks only the bounds of a time: why a time is refused is found by decoding it again (`time_fault`).
"""

from typing import Annotated, Literal, NamedTuple

import msgspec
from pydantic import ValidationError

from sidestream.models.records import CatalogItem, SessionStart, Signal
from sidestream.models.records.base import MAX_ID_CHARS
from sidestream.models.records.times import EARLIEST_EVENT_AT, LATEST_AT, event_time_fault

BOM = b"\xef\xbb\xbf"

TopicName = Literal["catalog", "listens", "sessions", "heldout"]
Role = Literal["test", "valid"]

IdText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
EventAtInt = Annotated[int, msgspec.Meta(ge=EARLIEST_EVENT_AT, le=LATEST_AT)]


class ListenRow(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One line of `events/listens.jsonl`: the value of one listen event, field for field."""

    event_id: IdText
    user_id: IdText
    item_id: IdText
    at: EventAtInt
    listened_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
    duration_ms: Annotated[int, msgspec.Meta(gt=0)] | None = None
    signal: Signal = "listen"
    surface: str | None = None
    device: str | None = None
    session_id: str | None = None
    schema_version: Annotated[int, msgspec.Meta(ge=1)] = 1


class HeldOutRow(ListenRow, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One line of `heldout.jsonl`: a held-out listen.

    A `test` row is in no other file. A `valid` row repeats a line of `events/listens.jsonl`: it is part of the input of
    the test, and training stops before it.
    """

    role: Role

    @property
    def listen(self) -> ListenRow:
        """The listen without its role."""
        return ListenRow(*(getattr(self, name) for name in ListenRow.__struct_fields__))


class CatalogEvent(NamedTuple):
    """One line of `catalog.jsonl`: an item as it was published at that time, or its removal."""

    item_id: str
    at: int
    item: CatalogItem | None


class LogRow(NamedTuple):
    """One row of the merged log, in total order (at, topic rank, line)."""

    at: int
    rank: int
    line: int
    """Number of the line in its file, from 1."""
    end_byte: int
    """Byte offset of the next line of its file."""
    topic: TopicName
    key: str
    value: bytes | None
    """The topic value as written, without the line end. None removes the item; a validation row, which repeats a listen
    of the log, has None too."""
    record: ListenRow | SessionStart | CatalogEvent


class RowError(ValueError):
    """A line is not a valid row of its file; the reader adds file and line."""


class _CatalogHead(msgspec.Struct, frozen=True, gc=False):
    item_id: IdText
    at: EventAtInt
    removed: bool = False


class _TimeAlone(msgspec.Struct, frozen=True, gc=False):
    at: int


_listen_decoder = msgspec.json.Decoder(ListenRow)
_heldout_decoder = msgspec.json.Decoder(HeldOutRow)
_head_decoder = msgspec.json.Decoder(_CatalogHead)
_time_decoder = msgspec.json.Decoder(_TimeAlone)
_encoder = msgspec.json.Encoder()


def decode_listen(line: bytes) -> ListenRow:
    """Decode one listen; takes about a microsecond.

    Args:
        line: JSON text, UTF-8.

    Returns:
        The listen.

    Raises:
        RowError: The line is not a listen.
    """
    try:
        return _listen_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RowError(time_fault(line, error) or str(error)) from error


def decode_heldout(line: bytes) -> HeldOutRow:
    """Decode one held-out listen.

    Args:
        line: JSON text, UTF-8.

    Returns:
        The listen with its role.

    Raises:
        RowError: The line is not a held-out listen.
    """
    try:
        return _heldout_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RowError(time_fault(line, error) or str(error)) from error


def decode_catalog(line: bytes) -> CatalogEvent:
    """Decode one catalogue row.

    Args:
        line: JSON text, UTF-8: a catalogue item, or `{"item_id", "at", "removed": true}`.

    Returns:
        The event.

    Raises:
        RowError: The line is neither.
    """
    try:
        head = _head_decoder.decode(line)
        item = None if head.removed else CatalogItem.from_json(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RowError(time_fault(line, error) or str(error)) from error
    except ValidationError as error:
        raise RowError(_first_fault(error)) from error
    return CatalogEvent(head.item_id, head.at, item)


def decode_session(line: bytes) -> SessionStart:
    """Decode one session-start.

    Args:
        line: JSON text, UTF-8.

    Returns:
        The session-start.

    Raises:
        RowError: The line is not a session-start.
    """
    try:
        return SessionStart.from_json(line)
    except ValidationError as error:
        raise RowError(_first_fault(error)) from error


def foreign_cause(line: bytes) -> str | None:
    """Say what a line is that looks like nothing of a log folder at all, where that is known.

    Args:
        line: A line that is no row.

    Returns:
        What it is; None where only its content is wrong.
    """
    if line.startswith(BOM):
        return "a BOM before it; log folders are plain UTF-8"
    if line.startswith(b"\x1f\x8b"):
        return "a gzip file; log folders are not compressed, decompress it"
    return "an empty line" if line.isspace() else None


def time_fault(value: bytes, error: Exception) -> str | None:
    """Say what is wrong with the time of an event, where that is why a struct refused it.

    Args:
        value: JSON text that was refused.
        error: The refusal.

    Returns:
        What is wrong, beginning with the field; None where the time is not the reason.
    """
    text = str(error)
    if not (text.startswith(("Expected `int` >=", "Expected `int` <=")) and text.endswith("- at `$.at`")):
        return None
    try:
        fault = event_time_fault(_time_decoder.decode(value).at)
    except msgspec.MsgspecError:  # damaged behind the time
        return None
    return None if fault is None else f"at: {fault}"


def encode_row(row: msgspec.Struct) -> bytes:
    """Encode a listen or a held-out listen as compact JSON without null fields."""
    return _encoder.encode(row)


def encode_removal(item_id: str, at: int) -> bytes:
    """Encode the catalogue row that removes an item."""
    return _encoder.encode({"item_id": item_id, "at": at, "removed": True})


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "value"
    return f"{where}: {fault['msg']}"
