"""Reading of CSV files row by row, with columns from the header or given by name."""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sidestream.models.data.importers.csv_quotes import MAX_ROW_LINES, STRAY_QUOTE, is_one_row
from sidestream.models.data.importers.lines import Source, line_error, lines_of, open_source, source_of
from sidestream.models.data.importers.shown import utf8_fault
from sidestream.models.errors import DataError

DELIMITERS = (",", "\t", ";", "|")
# First line of files written for Excel; it names the delimiter.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_JSON_START = re.compile(r"\s*(\[\s*)*\{|\s*\[\s*$")


class CsvRow(NamedTuple):
    """One row.

    Attributes:
        line: Line number of its start, from 1.
        fields: Its fields.
        fault: What is wrong with it; None if it has all columns.
    """

    line: int
    fields: list[str]
    fault: str | None = None


class _Line(NamedTuple):
    number: int
    text: str
    fault: str | None = None


class CsvRows:
    """The rows of one CSV file; can be iterated once.

    A row with a stray quote is one damaged line: the lines after it are read on their own.

    Args:
        path: The file, UTF-8.
        columns: Names of the columns of a file without a header; empty if the first row is the header.
        delimiter: Delimiter of fields; None takes that of a first line `sep=;`, else the most frequent one of , tab ; |
            in the first row.

    Attributes:
        columns: Names of the columns, known once the first row has been read.
    """

    def __init__(self, path: Path | str | Source, columns: Sequence[str] = (), delimiter: str | None = None) -> None:
        self._source = source_of(path)
        self._delimiter = delimiter
        self.columns = tuple(columns)

    def __iter__(self) -> Iterator[CsvRow]:
        """Iterate over the rows.

        Yields:
            Rows, also damaged ones.

        Raises:
            DataError: The file cannot be read or is empty, or its header is not UTF-8, has a column twice or a quote
                that does not end.
        """
        with open_source(self._source) as stream:
            lines = _Lines(self._texts(lines_of(stream, self._source.name)))
            delimiter = self._start(lines)
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            while lines.begin_row():
                try:
                    fields = next(reader)
                except csv.Error:
                    fields = []
                line, text, first_fault = lines.taken[0]
                fault = next((one.fault for one in lines.taken if one.fault), None)
                width = len(self.columns) or text.count(delimiter) + 1
                if not fields or not is_one_row(fields, [one.text for one in lines.taken], width, delimiter):
                    fields, fault = _alone(text, delimiter)
                    fault = first_fault or fault
                    lines.go_back()
                if not self.columns:
                    self.columns = self._header(line, fields, fault)
                else:
                    yield CsvRow(line, fields, fault or row_fault(self.columns, fields))

    def _start(self, lines: "_Lines") -> str:
        """Return the delimiter, and leave the first row to be read."""
        name = self._source.name
        found = lines.peek()
        if found is None:
            raise line_error(name, 1, "a header of column names", "an empty file")
        number, first, _ = found
        if named := _SEPARATOR_LINE.fullmatch(first):
            lines.skip()
            return self._delimiter or named[1]
        if not self.columns and _JSON_START.match(first):
            expected = "CSV with a header, not JSON (`sidestream import jsonl`)"
            raise line_error(name, number, expected, first[:60].strip())
        return self._delimiter or max(DELIMITERS, key=first.count)

    def _texts(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[_Line]:
        for number, line in lines:
            # The reader joins the lines of a quoted field.
            try:
                yield _Line(number, line.decode() + "\n")
            except UnicodeDecodeError:
                yield _Line(number, line.decode(errors="replace") + "\n", utf8_fault(line))

    def _header(self, line: int, fields: list[str], fault: str | None) -> tuple[str, ...]:
        columns = tuple(field.strip() for field in fields)
        if fault is not None:
            msg = f"{self._source.name}:{line}: expected a header of column names; {fault}"
            raise DataError(msg)
        if twice := next((column for column in columns if columns.count(column) > 1), None):
            expected = "every column once in the header (--columns names those of a file without one)"
            raise line_error(self._source.name, line, expected, twice)
        return columns


class _Lines:
    """Lines for `csv.reader`, which can return to the second line of a row."""

    def __init__(self, lines: Iterator[_Line]) -> None:
        self._lines = lines
        self._waiting: deque[_Line] = deque()
        self.taken: list[_Line] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        # The reader takes this for the end of the file, in which the quote does not end either.
        if len(self.taken) == MAX_ROW_LINES:
            raise StopIteration
        self.taken.append(self._waiting.popleft() if self._waiting else next(self._lines))
        return self.taken[-1].text

    def peek(self) -> _Line | None:
        if not self._waiting:
            self._waiting.extend(islice(self._lines, 1))
        return self._waiting[0] if self._waiting else None

    def skip(self) -> None:
        self._waiting.popleft()

    def begin_row(self) -> bool:
        """Forget the lines of the last row; False at the end of the file."""
        self.taken.clear()
        return self.peek() is not None

    def go_back(self) -> None:
        """Give all lines but the first again."""
        self._waiting.extendleft(reversed(self.taken[1:]))


def row_fault(columns: Sequence[str], fields: Sequence[str]) -> str | None:
    """Return what is wrong with the number of fields of a row; None if it fits the columns."""
    if len(fields) == len(columns):
        return None
    return f"expected {len(columns)} fields as in the header, got {len(fields)}"


def _alone(text: str, delimiter: str) -> tuple[list[str], str | None]:
    """Read one line with quotes against the rule: its fields and None, or what is wrong if a quote does not end."""
    reader = csv.reader([text, ""], delimiter=delimiter)
    try:
        fields = next(reader)
    except csv.Error as error:
        return [], f"expected CSV, got {error}"
    return (fields, None) if reader.line_num == 1 else (fields, f"{STRAY_QUOTE}, got {text.strip()[-60:]!r}")
