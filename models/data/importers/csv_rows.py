"""Reading of CSV files row by row, with columns from the header or given by name."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidestream.models.data.importers.lines import Source, line_error, lines_of, open_source, source_of

DELIMITERS = (",", "\t", ";", "|")


class CsvRows:
    """The rows of one CSV file; can be iterated once.

    Args:
        path: The file, UTF-8.
        columns: Names of the columns of a file without a header; empty if the first row is the header.
        delimiter: Delimiter of fields; None uses the most frequent one of , tab ; | in the first row.

    Attributes:
        columns: Names of the columns, known once the first row has been read.
    """

    def __init__(self, path: Path | str | Source, columns: Sequence[str] = (), delimiter: str | None = None) -> None:
        self._source = source_of(path)
        self._delimiter = delimiter
        self.columns = tuple(columns)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Iterate over the rows.

        Yields:
            Line number of the start of a row, from 1, and its fields.

        Raises:
            DataError: The file cannot be read, is empty, has a column twice, or a quote that does not end.
        """
        name = self._source.name
        with open_source(self._source) as stream:
            numbers: list[int] = []
            texts = self._texts(lines_of(stream, name), numbers)
            first = next(texts, None)
            if first is None:
                raise line_error(name, 1, "a header of column names", "an empty file")
            delimiter = self._delimiter or max(DELIMITERS, key=first.count)
            reader = csv.reader(_again(first, texts), delimiter=delimiter)
            try:
                for fields in reader:
                    line = numbers[0]
                    numbers.clear()
                    if not self.columns:
                        self.columns = self._header(line, fields)
                        continue
                    yield line, fields
            except csv.Error as error:
                raise line_error(name, numbers[0] if numbers else 1, "CSV", str(error)) from error

    def _texts(self, lines: Iterator[tuple[int, bytes]], numbers: list[int]) -> Iterator[str]:
        for number, line in lines:
            numbers.append(number)
            try:
                # The reader joins the lines of a quoted field.
                yield line.decode() + "\n"
            except UnicodeDecodeError as error:
                got = line[error.start : error.start + 8]
                raise line_error(self._source.name, number, "UTF-8 (save the file as UTF-8)", got) from error

    def _header(self, line: int, fields: list[str]) -> tuple[str, ...]:
        columns = tuple(field.strip() for field in fields)
        if twice := next((column for column in columns if columns.count(column) > 1), None):
            raise line_error(self._source.name, line, "every column once", twice)
        return columns


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def row_fault(columns: Sequence[str], fields: Sequence[str]) -> str | None:
    """Return what is wrong with the number of fields of a row; None if it fits the columns."""
    if len(fields) == len(columns):
        return None
    return f"expected {len(columns)} fields as in the header, got {len(fields)}"
