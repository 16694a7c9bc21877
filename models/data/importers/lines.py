"""Reading of published text files line by line, with errors that name file and line."""

from collections.abc import Iterator
from pathlib import Path

from sidestream.models.errors import DataError


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file without their ends.

    Args:
        path: File.

    Yields:
        Line number, from 1, and bytes of the line.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.rstrip(b"\r\n")
    except OSError as error:
        msg = f"{path}: expected a readable file, got {error.strerror}; point the import at the published files"
        raise DataError(msg) from error


def decode_text(raw: bytes) -> str:
    """Decode a line that is UTF-8 in some editions of a data set and Latin-1 in others.

    Latin-1 accepts any bytes, and accented Latin-1 text is practically never valid UTF-8: UTF-8 is tried first.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def line_error(path: Path, line: int, expected: str, got: object) -> DataError:
    """Create the error for an invalid line (numbered from 1)."""
    return DataError(f"{path}, line {line}: expected {expected}, got {got!r}; restore the published file")
