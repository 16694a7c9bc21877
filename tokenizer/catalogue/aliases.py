"""Items with several SIDs: each additional SID has its own row, an alias of the item's row.

Every row is therefore in exactly one bucket, and code that builds, merges or searches the trie needs no special case;
only code that counts items does. An alias has the facts, the vector and the weight of its item, is added and removed
with it, and is in no list. A key maps to the item's row, which has its first SID: the one that histories store. A
search that reaches an alias returns the item.

Shape legend: a = aliases, n = rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import find
from sidestream.tokenizer.catalogue.encoding import EncodedItem
from sidestream.tokenizer.catalogue.key_index import KeyIndex
from sidestream.tokenizer.catalogue.rows import RowStore

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class AliasRows:
    """Aliases as readers of a snapshot see them.

    Attributes:
        rows: Alias rows, ascending. Shape: (a,).
        items: The item's row of each alias. Shape: (a,).
    """

    rows: Int32Array
    items: Int32Array

    @cached_property
    def max_sids(self) -> int:
        """Return the largest number of SIDs that one item has."""
        return 1 + int(np.bincount(np.unique(self.items, return_inverse=True)[1], minlength=1).max())

    def item_rows(self, rows: Int32Array) -> Int32Array:
        """Map each row to the row of its item. Shape: (n,)."""
        if not self.rows.size:
            return rows
        places = find(self.rows, rows)
        return np.where(places < 0, rows, self.items[places])

    def without_aliases(self, rows: Int32Array) -> Int32Array:
        """Return the rows that are not aliases, in their order. Shape: (<= n,)."""
        return rows[~np.isin(rows, self.rows)] if self.rows.size else rows

    def with_aliases(self, rows: Int32Array) -> Int32Array:
        """Return items' rows and all their aliases. Shape: (>= n,)."""
        return np.concatenate((rows, self.rows[np.isin(self.items, rows)])) if self.rows.size else rows

    def extend_mask(self, mask: BoolArray) -> BoolArray:
        """Copy each item's value in a mask over rows to its aliases. Shape: (rows of the store,)."""
        if not self.rows.size:
            return mask
        mask = mask.copy()
        mask[self.rows] = mask[self.items]
        return mask


class Aliases:
    """Aliases by item key, as the writer keeps them."""

    def __init__(self) -> None:
        self.size = 0
        self._by_key: dict[int, list[int]] = {}

    def of(self, key: int) -> list[int]:
        """Return the alias rows of an item."""
        return self._by_key.get(key, [])

    def add(self, key: int, row: int) -> None:
        """Register `row` as an alias of the item with this key."""
        self._by_key.setdefault(key, []).append(row)
        self.size += 1

    def append(
        self,
        keys: Sequence[int],
        items: Sequence[EncodedItem],
        columns: Mapping[str, npt.NDArray[Any]],
        store: RowStore,
    ) -> None:
        """Append a row for every additional SID of new and changed items.

        Args:
            keys: Keys of the items.
            items: The items.
            columns: Columns of the items, as they were appended.
            store: Store that receives the rows.
        """
        start = store.size
        places, copied, texts = alias_columns(items, columns)
        store.append(copied, texts)
        for row, place in enumerate(places, start):
            self.add(keys[place], row)

    def remove(self, key: int) -> list[int]:
        """Remove an item's aliases and return their rows."""
        rows = self._by_key.pop(key, [])
        self.size -= len(rows)
        return rows

    def rows(self) -> Int32Array:
        """Return all alias rows, unordered. Shape: (a,)."""
        return np.array([row for rows in self._by_key.values() for row in rows], dtype=np.int32)

    def renumber(self, kept: Int32Array) -> None:
        """Translate row numbers after a compaction.

        Args:
            kept: Old numbers of the rows that the new store has, ascending.
                Shape: (n,).
        """
        for key, rows in self._by_key.items():
            self._by_key[key] = np.searchsorted(kept, rows).tolist()

    def for_readers(self, index: KeyIndex) -> AliasRows:
        """Return the current aliases, with the item rows that `index` gives."""
        rows = self.rows()
        keys = np.array([key for key, rows in self._by_key.items() for _ in rows], dtype=np.uint64)
        order = np.argsort(rows)
        return AliasRows(rows[order], index.find(keys)[order])


def alias_columns(
    items: Sequence[EncodedItem], columns: Mapping[str, npt.NDArray[Any]]
) -> tuple[list[int], dict[str, npt.NDArray[Any]], bytes]:
    """Build the store's columns for the aliases of some items: copies of the item's columns, except for the codes.

    Args:
        items: New and changed items.
        columns: Columns of the items, as they were appended.

    Returns:
        The position in `items` of each alias's item, the columns, and the texts.
    """
    places = [place for place, item in enumerate(items) for _ in item.more_sids]
    texts = [items[place].id_text + items[place].facts_text for place in places]
    lengths = np.array([len(text) for text in texts])
    copied = {name: column[places] for name, column in columns.items()}
    copied["text_starts"] = np.cumsum(lengths) - lengths
    copied["codes"] = np.array([sid for item in items for sid in item.more_sids], dtype=np.uint16)
    return places, copied, b"".join(texts)
