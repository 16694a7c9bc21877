"""Check that ids are unique in a file of any size: 8 bytes of memory a row, and a second pass only where ids repeat."""

from array import array
from collections.abc import Iterable, Iterator

import numpy as np


class Keys:
    """Hashes of the keys of a file's rows."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, key: tuple[object, ...]) -> None:
        """Take the key of a row."""
        self._hashes.append(hash(key))

    def repeated(self) -> frozenset[int]:
        """Return the hashes that several rows have; different keys with the same hash are possible."""
        hashes = np.sort(np.frombuffer(self._hashes, dtype=np.int64)) if self._hashes else np.empty(0, np.int64)
        return frozenset(map(int, hashes[1:][hashes[1:] == hashes[:-1]]))


def repeats(
    rows: Iterable[tuple[int, tuple[object, ...]]], hashes: frozenset[int]
) -> Iterator[tuple[int, tuple[object, ...], int]]:
    """Find the rows whose key an earlier row has.

    Args:
        rows: Line and key of each row of the file, again.
        hashes: What `Keys.repeated` returned for it.

    Yields:
        Line, key, and line of the first row with that key.
    """
    first: dict[tuple[object, ...], int] = {}
    for line, key in rows:
        if hash(key) in hashes:
            before = first.setdefault(key, line)
            if before != line:
                yield line, key, before
