"""Reading of JSON files as a stream of values: one per line, an array in any layout, or concatenated values."""

import codecs
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from sidestream.models.data.importers.lines import (
    MAX_LINE_BYTES,
    Source,
    line_error,
    lines_of,
    open_source,
    require_line_ends,
    source_of,
)
from sidestream.models.errors import DataError
from sidestream.models.records.malformed import malformed

CHUNK_BYTES = 1 << 18
# Files that were joined (cat a b) have the BOM of each.
_BLANK = " \t\r\n\ufeff"
_KEEP = "surrogateescape"
_decoder = json.JSONDecoder()


def read_json(path: Path | str | Source) -> Iterator[tuple[int, bytes]]:
    """Yield the values of a JSON file as text.

    A file that starts with `[` is one array, whose elements are the values. A file whose first line is only `{` has
    values that span several lines. Any other file has one value per line; these are not parsed here, so that a damaged
    line affects only that line.

    Args:
        path: The file; one value and one block of the file are held in memory.

    Yields:
        Line number of the start of the value, from 1, and its JSON text, with bytes that are not UTF-8 as they are.

    Raises:
        DataError: The file cannot be read, or a file that is not line by line is not valid JSON; names file and line.
    """
    name = source_of(path).name
    with open_source(path) as stream:
        blank, first = _first_line(stream)
        text = first.strip()
        if text.startswith(b"[") or text == b"{":
            values = _Values(chain([b"\n" * blank + first], _chunks(stream)), name)
            yield from values.of_array() if text.startswith(b"[") else values.in_a_row()
            return
        if text:
            require_line_ends(text, name)
            yield blank + 1, text
        for number, line in lines_of(stream, name):
            yield blank + 1 + number, line.strip()


def _first_line(stream: BinaryIO) -> tuple[int, bytes]:
    """Return the number of blank lines before the first non-blank one, and that line, truncated if it is very long."""
    blank = 0
    while line := stream.readline(CHUNK_BYTES):
        if not line.isspace():
            # An array may be one line of any length; any other line is read to its end.
            if not line.lstrip().startswith(b"[") and not line.endswith(b"\n"):
                line += stream.readline(MAX_LINE_BYTES)
            return blank, line
        blank += 1
    return blank, b""


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


class _Values:
    """Splits a stream of text into JSON values."""

    def __init__(self, chunks: Iterator[bytes], name: str) -> None:
        self._chunks = chunks
        self._name = name
        # A byte that is not UTF-8 damages its value, not the file.
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors=_KEEP)
        self._text = ""
        self._at = 0
        self._line = 1
        self._counted = 0
        self._is_end = False

    def of_array(self) -> Iterator[tuple[int, bytes]]:
        self._expect("[")
        if self._next() == "]":
            self._at += 1
        else:
            while True:
                yield self._value()
                if self._expect(",]") == "]":
                    break
                if self._next() == "]":
                    raise self._error(self._at, "a JSON value after the comma; JSON has none after the last value")
        if self._next():
            raise self._error(self._at, "nothing after the array")

    def in_a_row(self) -> Iterator[tuple[int, bytes]]:
        while self._next():
            yield self._value()

    def _next(self) -> str:
        """Return the next non-blank character; an empty string at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _expect(self, wanted: str) -> str:
        found = self._next()
        if not found or found not in wanted:
            raise self._error(self._at, " or ".join(wanted))
        self._at += 1
        return found

    def _value(self) -> tuple[int, bytes]:
        if not self._next():
            raise self._error(self._at, "a JSON value")
        line = self._line_at(self._at)
        asked = CHUNK_BYTES
        while True:
            try:
                _, end = _decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Cut off by the end of the block, or malformed: more of the file must be read to decide.
                fault, offset = error.msg, error.pos - self._at
            except RecursionError as error:
                raise self._error(self._at, "JSON that is not nested so deeply") from error
            else:
                # A number at the end of the block may continue.
                if end < len(self._text) or not self._more():
                    value = self._text[self._at : end].encode(errors=_KEEP)
                    self._at = end
                    return line, value
                continue
            held = len(self._text) - self._at
            while len(self._text) - self._at < held + asked and self._more():
                pass
            if len(self._text) - self._at == held or held > MAX_LINE_BYTES:
                guess = malformed(self._text[self._at :].encode(errors=_KEEP)).guess
                raise self._error(self._at + offset, f"JSON ({guess or fault})")
            asked *= 2

    def _more(self) -> bool:
        """Read another block; False at the end of the file."""
        if self._is_end:
            return False
        chunk = next(self._chunks, b"")
        self._line_at(self._at)
        more = self._utf8.decode(chunk, final=not chunk)
        self._text = self._text[self._at :] + more
        self._at = self._counted = 0
        self._is_end = not chunk
        return bool(chunk)

    def _line_at(self, at: int) -> int:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return self._line

    def _error(self, at: int, expected: str) -> DataError:
        line = self._line_at(self._at) + self._text.count("\n", self._at, at)
        got = self._text[at : at + 40].encode(errors=_KEEP) or "the end of the file"
        return line_error(self._name, line, expected, got)
