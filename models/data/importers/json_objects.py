"""Reading of JSON files of objects: each value an object, or what is wrong with it and where."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sidestream.models.data.importers.json_values import read_json
from sidestream.models.data.importers.lines import Source, line_error, source_of
from sidestream.models.data.importers.shown import shown, shown_at, utf8_fault
from sidestream.models.records.malformed import CSV_GUESS, malformed

_decode = msgspec.json.Decoder().decode


def read_objects(path: Path | str | Source, what: str = "a JSON object") -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the objects of a JSON file.

    Args:
        path: The file.
        what: What each value is, for messages.

    Yields:
        Line number of its start, from 1, and the object, or what is wrong with it.

    Raises:
        DataError: The file cannot be read, is not JSON at all, or is CSV.
    """
    is_first = True
    for line, text in read_json(path):
        try:
            yield line, decode_object(text, what)
        except ValueError as error:
            if is_first and malformed(text).guess == CSV_GUESS:
                expected = "JSON, not CSV (`sidestream import csv`)"
                raise line_error(source_of(path).name, line, expected, text) from error
            yield line, str(error)
        is_first = False


def decode_object(text: bytes, what: str = "a JSON object") -> dict[str, Any]:
    """Decode one object.

    Args:
        text: JSON.
        what: What it is, for messages.

    Returns:
        The object.

    Raises:
        ValueError: It is none; says why, and shows the place.
    """
    try:
        found = _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(_fault(text, what, error)) from error
    if not isinstance(found, dict):
        msg = f"expected {what}, got {shown(text)}"
        raise ValueError(msg)
    return found


def whole(row: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """Return a row that can be read; of any other, raise what is wrong with it as `ValueError`."""
    if isinstance(row, str):
        raise ValueError(row)
    return row


def _fault(text: bytes, what: str, error: Exception) -> str:
    if (fault := utf8_fault(text)) is not None:
        return fault
    guess, at = malformed(text)
    return f"expected {what}, got {shown_at(text.decode(), at)} ({guess or error})"
