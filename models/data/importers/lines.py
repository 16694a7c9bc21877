"""Reading the text files of published data sets line by line, with errors that name file and line."""

from collections.abc import Iterator
from pathlib import Path

from sidestream.models.errors import DataError


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file without their ends.

    Args:
        path: File.

    Yields:
        Number of the line, from 1, and its bytes.

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

    Args:
        raw: One line.

    Returns:
        Its text.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def line_error(path: Path, line: int, expected: str, got: object) -> DataError:
    """Say what is wrong with one line.

    Args:
        path: File.
        line: Number of the line, from 1.
        expected: What should be there.
        got: What is there.

    Returns:
        The error to raise.
    """
    return DataError(f"{path}, line {line}: expected {expected}, got {got!r}; restore the published file")
