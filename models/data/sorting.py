"""External sorting of rows that do not fit in memory: sorted runs on disk, merged while reading."""

import heapq
import struct
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

Row = tuple[bytes, bytes]

# Python's overhead for a row in addition to its bytes: a tuple and two bytes objects.
ROW_OVERHEAD_BYTES = 170
# Maximum number of open files; more runs than that are first merged into one.
MAX_RUNS = 64
_BUFFER_BYTES = 1 << 20
_LENGTHS = struct.Struct("<II")


class ExternalSort:
    """Sorts rows by key, and rows with equal keys by value.

    Args:
        folder: Existing folder for runs, if any are needed. They are removed once the result has been read.
        memory_bytes: Size of the rows held in memory before a run is written; reading holds one block of each run.
    """

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._rows: list[Row] = []
        self._held_bytes = 0
        self._runs: list[Path] = []
        self._written = 0

    def add(self, key: bytes, value: bytes) -> None:
        """Add a row with its sort key."""
        self._rows.append((key, value))
        self._held_bytes += len(key) + len(value) + ROW_OVERHEAD_BYTES
        if self._held_bytes >= self._memory_bytes:
            self._rows.sort()
            self._write(iter(self._rows))
            self._rows = []
            self._held_bytes = 0

    def __iter__(self) -> Iterator[Row]:
        """Yield all rows in order; can be called once."""
        self._rows.sort()
        yield from heapq.merge(*map(_read, self._runs), self._rows, key=itemgetter(0, 1))
        self._rows = []
        for run in self._runs:
            run.unlink()
        self._runs = []

    def _write(self, rows: Iterator[Row]) -> None:
        if len(self._runs) >= MAX_RUNS:
            merged, self._runs = self._runs, []
            self._write(heapq.merge(*map(_read, merged), key=itemgetter(0, 1)))
            for run in merged:
                run.unlink()
        path = self._folder / f"run-{id(self):x}-{self._written}"
        self._written += 1
        with path.open("wb", buffering=_BUFFER_BYTES) as stream:
            for key, value in rows:
                stream.write(_LENGTHS.pack(len(key), len(value)))
                stream.write(key)
                stream.write(value)
        self._runs.append(path)


def _read(path: Path) -> Iterator[Row]:
    with path.open("rb", buffering=_BUFFER_BYTES) as stream:
        while head := stream.read(_LENGTHS.size):
            key_bytes, value_bytes = _LENGTHS.unpack(head)
            yield stream.read(key_bytes), stream.read(value_bytes)


def text_key(text: str) -> bytes:
    """Encode a text as a sort key that can be followed by other keys.

    Args:
        text: Any text.

    Returns:
        Bytes that sort like the text's UTF-8, regardless of what follows them.
    """
    return text.encode().replace(b"\0", b"\0\xff") + b"\0\0"


def number_key(number: int) -> bytes:
    """Encode a number from 0 to 2**64 - 1 as 8 bytes that sort like the number."""
    return number.to_bytes(8, "big")
