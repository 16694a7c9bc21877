"""Items under several SIDs: each further SID has a row of its own, an alias of the item's row.

So every row stands in one bucket, whoever builds, merges or searches the trie, and only what counts items has to know:
an alias has the facts, the vector and the weight of its item, comes and goes with it, and is in no list. A key leads to
the item's row, which has its first SID: the one that histories keep. What is found by way of an alias is the item.

Shape legend: a = aliases, n = rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.lookup import find
from sidestream.tokenizer.catalogue.encoding import EncodedItem
from sidestream.tokenizer.catalogue.key_index import KeyIndex
from sidestream.tokenizer.catalogue.rows import RowStore

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class AliasRows:
    """What readers know of aliases.

    Attributes:
        rows: Aliases, ascending. Shape: (a,).
        items: The row of each one's item. Shape: (a,).
    """

    rows: Int32Array
    items: Int32Array

    @cached_property
    def max_sids(self) -> int:
        """Return the most SIDs that one item has."""
        return 1 + int(np.bincount(np.unique(self.items, return_inverse=True)[1], minlength=1).max())

    def item_rows(self, rows: Int32Array) -> Int32Array:
        """Return the row of the item that each row stands for. Shape: (n,)."""
        if not self.rows.size:
            return rows
        places = find(self.rows, rows)
        return np.where(places < 0, rows, self.items[places])

    def left_out(self, rows: Int32Array) -> Int32Array:
        """Return the rows that are no aliases, in their order. Shape: (<= n,)."""
        return rows[~np.isin(rows, self.rows)] if self.rows.size else rows

    def with_aliases(self, rows: Int32Array) -> Int32Array:
        """Return items' rows and all their aliases. Shape: (>= n,)."""
        return np.concatenate((rows, self.rows[np.isin(self.items, rows)])) if self.rows.size else rows

    def spread(self, mask: BoolArray) -> BoolArray:
        """Let aliases have what a mask over rows says of their items. Shape: (rows of the store,)."""
        if not self.rows.size:
            return mask
        mask = mask.copy()
        mask[self.rows] = mask[self.items]
        return mask


class Aliases:
    """The writer's side: which rows are aliases of which item."""

    def __init__(self) -> None:
        self.size = 0
        self._by_key: dict[int, list[int]] = {}

    def of(self, key: int) -> list[int]:
        """Return the aliases of an item by its key."""
        return self._by_key.get(key, [])

    def add(self, key: int, row: int) -> None:
        """Note an alias.

        Args:
            key: Of the item.
            row: The alias.
        """
        self._by_key.setdefault(key, []).append(row)
        self.size += 1

    def append(
        self,
        keys: Sequence[int],
        items: Sequence[EncodedItem],
        columns: Mapping[str, npt.NDArray[Any]],
        store: RowStore,
    ) -> None:
        """Give a row of its own to every further SID of new and changed items.

        Args:
            keys: Of the items.
            items: The items.
            columns: Theirs, as they were appended.
            store: Gets the rows.
        """
        start = store.size
        places, copied, texts = alias_columns(items, columns)
        store.append(copied, texts)
        for row, place in enumerate(places, start):
            self.add(keys[place], row)

    def dropped(self, key: int) -> list[int]:
        """Forget an item's aliases; returns those it had."""
        rows = self._by_key.pop(key, [])
        self.size -= len(rows)
        return rows

    def rows(self) -> Int32Array:
        """Return all aliases, in no order. Shape: (a,)."""
        return np.array([row for rows in self._by_key.values() for row in rows], dtype=np.int32)

    def renumber(self, kept: Int32Array) -> None:
        """Follow a compaction.

        Args:
            kept: Rows that the new store has, ascending, by their old numbers.
                Shape: (n,).
        """
        for key, rows in self._by_key.items():
            self._by_key[key] = np.searchsorted(kept, rows).tolist()

    def listed(self, index: KeyIndex) -> AliasRows:
        """Give what readers need.

        Args:
            index: Item key to its row.

        Returns:
            The aliases as they are now.
        """
        rows = self.rows()
        keys = np.array([key for key, rows in self._by_key.items() for _ in rows], dtype=np.uint64)
        order = np.argsort(rows)
        return AliasRows(rows[order], index.find(keys)[order])


def alias_columns(
    items: Sequence[EncodedItem], columns: Mapping[str, npt.NDArray[Any]]
) -> tuple[list[int], dict[str, npt.NDArray[Any]], bytes]:
    """Lay out the aliases of some items as columns of the store: all that the item has, but for the codes.

    Args:
        items: New and changed items.
        columns: Theirs, as they were appended.

    Returns:
        Which item each alias is of, the columns, and the texts.
    """
    places = [place for place, item in enumerate(items) for _ in item.more_sids]
    texts = [items[place].id_text + items[place].facts_text for place in places]
    lengths = np.array([len(text) for text in texts])
    copied = {name: column[places] for name, column in columns.items()}
    copied["text_starts"] = np.cumsum(lengths) - lengths
    copied["codes"] = np.array([sid for item in items for sid in item.more_sids], dtype=np.uint16)
    return places, copied, b"".join(texts)
