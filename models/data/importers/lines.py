"""Reading of external text files: a path, `-` or a member of an archive, compressed or not, with or without a BOM.

Every command that reads an external file uses this module, so that all accept the same files and report the same
errors. The format is detected from the first bytes, never from the name: gzip, bzip2 and xz are decompressed, a UTF-8
BOM is dropped, also before a later line. Lines end in LF or CRLF, CR alone is refused; blank lines are skipped, but
counted.
"""

import bz2
import gzip
import io
import lzma
import os
import shutil
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from sidestream.models.data.importers.shown import shown
from sidestream.models.data.rows import BOM
from sidestream.models.errors import DataError

STDIN = "-"
STDIN_NAME = "stdin"
# A longer line is not a row: a file without line ends would be read into memory completely.
MAX_LINE_BYTES = 64 << 20

_DECOMPRESS: dict[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_REFUSED = {
    b"\x28\xb5\x2f\xfd": "a file compressed with zstd; decompress it first (zstd -d)",
    b"PK\x03\x04": "a zip archive; unzip it first, or use an import that takes the archive (listenbrainz, spotify)",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"PAR1": "a Parquet file; write it as JSON lines or CSV",
    b"SQLite format 3\x00": "an SQLite database; write a table of it as JSON lines or CSV",
}
_PEEK_BYTES = 16


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read.

    Attributes:
        name: Name for messages.
        open: Opens it as raw bytes.
    """

    name: str
    open: Callable[[], AbstractContextManager[BinaryIO]]


def source_of(path: Path | str | Source) -> Source:
    """Return the source for a path, or for `-` (standard input); a source is returned unchanged."""
    if isinstance(path, Source):
        return path
    if str(path) == STDIN:
        return Source(STDIN_NAME, lambda: nullcontext(sys.stdin.buffer))
    place = Path(path)
    return Source(str(place), lambda: place.open("rb"))


def readable_again(path: Path | str | Source) -> Source:
    """Make a file readable more than once: standard input is copied to a temporary file.

    Args:
        path: The file.

    Returns:
        A source that can be opened repeatedly.
    """
    source = source_of(path)
    if source.name != STDIN_NAME:
        return source
    descriptor, path_of_copy = tempfile.mkstemp()
    Path(path_of_copy).unlink()
    with source.open() as stream, os.fdopen(os.dup(descriptor), "wb") as copy:
        shutil.copyfileobj(stream, copy)

    def again() -> AbstractContextManager[BinaryIO]:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.fdopen(os.dup(descriptor), "rb")

    # The copy exists as long as the source.
    weakref.finalize(again, os.close, descriptor)
    return Source(source.name, again)


@contextmanager
def open_source(path: Path | str | Source) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed and without a BOM.

    Args:
        path: The file.

    Yields:
        The stream.

    Raises:
        DataError: It cannot be read, is damaged, or is of an unsupported format.
    """
    source = source_of(path)
    try:
        with source.open() as raw, _decompressed(source, _buffered(raw)) as stream:
            if stream.peek(len(BOM))[: len(BOM)] == BOM:
                stream.read(len(BOM))
            _refuse_foreign(source, stream)
            yield cast(BinaryIO, stream)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        msg = f"{source.name}: expected a whole compressed file, got {error}; fetch it again"
        raise DataError(msg) from error
    except OSError as error:
        msg = f"{source.name}: expected a readable file, got {error.strerror or error}; check the path"
        raise DataError(msg) from error


def read_lines(path: Path | str | Source) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file without their ends; blank lines are skipped.

    Args:
        path: The file.

    Yields:
        Line number in the file, from 1, and bytes of the line.

    Raises:
        DataError: The file cannot be read, or a line is longer than `MAX_LINE_BYTES`.
    """
    with open_source(path) as stream:
        yield from lines_of(stream, source_of(path).name)


def lines_of(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of an open stream without their ends; blank lines are skipped.

    Args:
        stream: Stream from `open_source`.
        name: Name for messages.

    Yields:
        Line number in the file, from 1, and bytes of the line.

    Raises:
        DataError: A line is longer than `MAX_LINE_BYTES`, or lines end in CR alone.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise line_error(name, number, f"a line of {MAX_LINE_BYTES >> 20} MiB at most", line[:40])
        # Files that were joined (cat a b) have the BOM of each.
        if (text := line.removeprefix(BOM).rstrip(b"\r\n")) and not text.isspace():
            if number == 1:
                require_line_ends(text, name)
            yield number, text


def require_line_ends(first: bytes, name: str) -> None:
    """Refuse a file whose first line has a CR inside: it is the whole file, with the line ends of old Macs.

    Args:
        first: The first line.
        name: Name for messages.

    Raises:
        DataError: It has a CR inside.
    """
    if b"\r" in first.rstrip(b"\r\n"):
        msg = f"{name}:1: expected lines that end in LF or CRLF, got CR alone; save the file with the line ends of Unix"
        raise DataError(msg)


def decode_text(raw: bytes) -> str:
    """Decode a line that is UTF-8 in some editions of a data set and Latin-1 in others.

    Latin-1 accepts any bytes, and accented Latin-1 text is practically never valid UTF-8: UTF-8 is tried first.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def line_error(path: Path | str, line: int, expected: str, got: object) -> DataError:
    """Create the error for an invalid line (numbered from 1) of a file, given by path or display name."""
    return DataError(f"{path}:{line}: expected {expected}, got {shown(got)}; correct the line or restore the file")


def _buffered(raw: BinaryIO) -> io.BufferedReader:
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw))


@contextmanager
def _decompressed(source: Source, raw: io.BufferedReader) -> Iterator[io.BufferedReader]:
    head = raw.peek(_PEEK_BYTES)
    for magic, decompress in _DECOMPRESS.items():
        if head.startswith(magic):
            with io.BufferedReader(cast(io.RawIOBase, decompress(raw))) as stream:
                yield cast(io.BufferedReader, stream)
            return
    yield raw


def _refuse_foreign(source: Source, stream: io.BufferedReader) -> None:
    head = stream.peek(_PEEK_BYTES)
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            msg = f"{source.name}: expected text, got {what}"
            raise DataError(msg)
    # Every other byte of Latin text in UTF-16 is zero.
    for even, odd in ((head[::2], head[1::2]), (head[1::2], head[::2])):
        if odd and not any(odd) and all(even):
            msg = f"{source.name}: expected text, got UTF-16 text without a byte order mark; save it as UTF-8"
            raise DataError(msg)
