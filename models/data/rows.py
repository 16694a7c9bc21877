"""Rows of a log folder: their types, and decoding of the lines of each file.

Listens are the hot path (a training reads millions), so they decode into a msgspec struct with the fields of
`models.records.Listen`; a test keeps the two in step. Catalogue rows and session-starts are pydantic records. What is
wrong with a line that a struct refused is found by decoding it again with the pydantic model.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from pydantic import ValidationError

from sidestream.models.records import CatalogItem, Listen, Record, SessionStart, Signal
from sidestream.models.records.base import MAX_ID_CHARS, Id, without_nulls
from sidestream.models.records.faults import MAX_SHOWN_CHARS, fault_of
from sidestream.models.records.malformed import not_json
from sidestream.models.records.times import EARLIEST_EVENT_AT, LATEST_AT, EventAt

BOM = b"\xef\xbb\xbf"
_FOREIGN_STARTS: Final[Mapping[bytes, str]] = {
    BOM: "a BOM before it; log folders are plain UTF-8",
    b"\xff\xfe": "UTF-16 text; log folders are UTF-8, save the file as UTF-8",
    b"\xfe\xff": "UTF-16 text; log folders are UTF-8, save the file as UTF-8",
    b"\x1f\x8b": "a gzip file; log folders are not compressed, decompress it",
    b"BZh": "a bzip2 file; log folders are not compressed, decompress it",
    b"\xfd7zXZ\0": "an xz file; log folders are not compressed, decompress it",
    b"\x28\xb5\x2f\xfd": "a zstd file; log folders are not compressed, decompress it",
    b"PK\x03\x04": "a zip file; log folders are not compressed, decompress it",
}

TopicName = Literal["catalog", "listens", "sessions", "heldout"]
Role = Literal["test", "valid"]

RecordT = TypeVar("RecordT", bound=Record)
IdText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
EventAtInt = Annotated[int, msgspec.Meta(ge=EARLIEST_EVENT_AT, le=LATEST_AT)]


class ListenRow(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One line of `events/listens.jsonl`: the value of one listen event, field for field."""

    event_id: IdText
    user_id: IdText
    item_id: IdText
    at: EventAtInt
    listened_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
    duration_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
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


# The rows of two files as pydantic models, which say what is wrong with a row that a struct refused.
class _HeldOut(Listen):
    role: Role


class _Removal(Record):
    item_id: Id
    at: EventAt
    removed: bool = False


_listen_decoder = msgspec.json.Decoder(ListenRow)
_heldout_decoder = msgspec.json.Decoder(HeldOutRow)
_head_decoder = msgspec.json.Decoder(_CatalogHead)
_json_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()

Decoded = TypeVar("Decoded", bound=CatalogEvent | ListenRow | SessionStart)


def decode_row(decode: Callable[[bytes], Decoded], line: bytes) -> tuple[Decoded, bytes]:
    """Decode one line, where null in an optional field means that the field is missing.

    Args:
        decode: The decoder of its file.
        line: JSON text, UTF-8, with its line end.

    Returns:
        The row, and the line without its line end and without nulls that workers would refuse.

    Raises:
        RowError: The line is not a row of its file.
    """
    try:
        return decode(line), line.rstrip(b"\r\n")
    except RowError:
        filled = without_nulls(line)
        if filled is None:
            raise
        return decode(filled), filled


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
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(Listen, line) from error


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
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(_HeldOut, line) from error


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
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(_Removal, line) from error
    item = None if head.removed else _decode_model(CatalogItem, line)
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
        _json_decoder.decode(line)  # pydantic alone would let NaN and Infinity pass
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(SessionStart, line) from error
    return _decode_model(SessionStart, line)


def row_of(model: type[Record], decode: Callable[[bytes], Decoded], fields: Mapping[str, Any]) -> Decoded:
    """Make a row of its fields.

    Args:
        model: Record of its topic.
        decode: The decoder of its file.
        fields: Values by name.

    Returns:
        The row as readers of the file get it.

    Raises:
        RowError: A field is unknown, or readers would refuse its value.
    """
    try:
        return decode(model.model_validate(fields, extra="forbid").to_json())
    except ValidationError as error:
        raise RowError(fault_of(error, model)) from error


def foreign_cause(line: bytes) -> str | None:
    """Say what a line is that looks like nothing of a log folder at all, where that is known.

    Args:
        line: A line that is no row.

    Returns:
        What it is; None where only its content is wrong.
    """
    for start, what in _FOREIGN_STARTS.items():
        if line.startswith(start):
            return what
    return "an empty line" if line.isspace() else None


def refusal(name: str, line: bytes, error: RowError) -> str:
    """Say what was expected of a line, and what came.

    Args:
        name: Path of the file inside the folder.
        line: A line that is no row.
        error: What is wrong with its content.

    Returns:
        The message without file and line number.
    """
    if cause := foreign_cause(line):
        return f"expected a row of {name}, got {cause}"
    text = line.rstrip(b"\r\n").decode(errors="backslashreplace")
    beginning = text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"
    return f"expected a row of {name} ({error}), got {beginning}"


def encode_row(row: msgspec.Struct) -> bytes:
    """Encode a listen or a held-out listen as compact JSON without null fields."""
    return _encoder.encode(row)


def encode_removal(item_id: str, at: int) -> bytes:
    """Encode the catalogue row that removes an item."""
    return _encoder.encode({"item_id": item_id, "at": at, "removed": True})


def _decode_model(model: type[RecordT], line: bytes) -> RecordT:
    try:
        return model.model_validate_json(line, strict=True)
    except ValidationError as error:
        raise RowError(fault_of(error)) from error


def _refusal(model: type[Record], line: bytes) -> RowError:
    """Create the error of a line that a struct refused, in the words of the model with the same fields."""
    try:
        model.model_validate_json(line, strict=True)
    except ValidationError as fault:
        return RowError(fault_of(fault))
    # What msgspec refuses and pydantic does not: NaN, bytes that are not UTF-8 in an unknown field, deep nesting.
    return RowError(f"expected one JSON object in UTF-8: {not_json(line)}")
