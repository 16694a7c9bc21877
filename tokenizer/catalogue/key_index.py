"""The way from an item's key to its row: sorted arrays, 12 bytes an item, shared by writer and readers.

A Python dict over a million keys would take some 100 MB and be walked by the garbage collector. The index is
immutable; a changed one is merged from it, so a snapshot can keep its own without a copy. What changed lately lies in a
small index in front of the large one, which is copied only once so much has changed that the copy is worth it.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.lookup import find
from sidestream.tokenizer.catalogue.trie.splice import Splice

UInt64Array = npt.NDArray[np.uint64]
Int32Array = npt.NDArray[np.int32]


# Late keys as a share of the large index at most, which copied at every merge of a hundredth would cost a tenth of it.
_MAX_LATE_SHARE = 1 / 32


@dataclass(frozen=True, eq=False, slots=True)
class KeyIndex:
    """An immutable map from item key to row.

    Attributes:
        keys: Strictly ascending.
            Shape: (n,).
        rows: Row of each key.
            Shape: (n,).
        late: Keys added or moved since, looked up first.
        num_added: How many of the late keys are not among the others.
    """

    keys: UInt64Array
    rows: Int32Array
    late: "KeyIndex | None" = None
    num_added: int = 0

    @classmethod
    def empty(cls) -> Self:
        """Return an index without keys."""
        return cls(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32))

    @property
    def num_keys(self) -> int:
        """Return how many keys it has."""
        return self.keys.size + self.num_added

    @property
    def nbytes(self) -> int:
        """Return the memory that it takes."""
        return self.keys.nbytes + self.rows.nbytes + (self.late.nbytes if self.late is not None else 0)

    def find(self, keys: UInt64Array) -> Int32Array:
        """Look keys up.

        Args:
            keys: Any order, repeats allowed.
                Shape: (q,).

        Returns:
            The row of each key, -1 where unknown.
            Shape: (q,).
        """
        found = np.full(len(keys), -1, dtype=np.int32)
        places = find(self.keys, keys)
        hit = np.flatnonzero(places >= 0)
        found[hit] = self.rows[places[hit]]
        if self.late is None:
            return found
        later = self.late.find(keys)
        return np.where(later < 0, found, later)

    def find_one(self, key: int) -> int:
        """Look one key up, in a fifth of the time that `find` takes for one.

        Args:
            key: Item key.

        Returns:
            The row, -1 where unknown.
        """
        if self.late is not None and (row := self.late.find_one(key)) >= 0:
            return row
        place = int(self.keys.searchsorted(np.uint64(key)))
        return int(self.rows[place]) if place < self.keys.size and int(self.keys[place]) == key else -1

    def merged(self, changes: dict[int, int]) -> "KeyIndex":
        """Return an index with some keys added or moved.

        Args:
            changes: Key to its new row.

        Returns:
            A new index; this one is unchanged. Cost is one pass over what changed lately plus a sort of the changes,
            and now and then one pass over the index.
        """
        if not changes:
            return self
        keys = np.fromiter(changes.keys(), dtype=np.uint64, count=len(changes))
        rows = np.fromiter(changes.values(), dtype=np.int32, count=len(changes))
        order = np.argsort(keys)
        keys, rows = keys[order], rows[order]
        num_added = self.num_added + int(np.count_nonzero(self.find(keys) < 0))
        late = (self.late or KeyIndex.empty())._with(keys, rows)
        merged = KeyIndex(self.keys, self.rows, late, num_added)
        return merged if late.keys.size <= _MAX_LATE_SHARE * self.keys.size else merged.whole()

    def whole(self) -> "KeyIndex":
        """Return the same index with all keys in one place."""
        return self if self.late is None else self._with(self.late.keys, self.late.rows)

    def _with(self, keys: UInt64Array, rows: Int32Array) -> "KeyIndex":
        """Add or move ascending keys. Shape: (q,) and (q,)."""
        places = find(self.keys, keys)
        known, new = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
        base_rows = self.rows.copy()
        base_rows[places[known]] = rows[known]
        splice = Splice(self.keys.size, np.empty(0, dtype=np.int64), np.searchsorted(self.keys, keys[new]))
        return KeyIndex(splice.applied(self.keys, keys[new]), splice.applied(base_rows, rows[new]))
