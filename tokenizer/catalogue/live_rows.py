"""Live rows of a catalogue with their trie and top lists, built from scratch or merged from the previous ones.

A merge gives the same arrays as a build; the choice between the two is a matter of cost alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import top_rows
from sidestream.tokenizer.catalogue.rows import Rows, RowStore
from sidestream.tokenizer.catalogue.trie.csr import Splice
from sidestream.tokenizer.catalogue.trie.means import KeptSums
from sidestream.tokenizer.catalogue.trie.merge import merge_trie
from sidestream.tokenizer.catalogue.trie.trie import Trie, build_trie

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]

MAX_LISTED_ROWS = 1_000
# Kept in addition to the listed rows, so that the lists stay full when rows are removed, without a scan of all rows.
_RESERVE_ROWS = 1_000
# A merge copies everything and computes what changed: above this share of changed rows a build costs no more.
_MAX_MERGED_SHARE = 0.25


@dataclass(frozen=True, eq=False, slots=True)
class LiveRows:
    """The rows that are in a bucket, with their trie.

    Attributes:
        alive: Mask of the rows that are in a bucket. Shape: (R,).
        trie: Trie over these rows.
        sums: Sums that the next merge continues from, by inner level; not for readers.
        heaviest: The top rows by weight, equal weights by key; more than are listed. Shape: (<= 2000,).
        latest: The newest rows, newest first; more than are listed. Shape: (<= 2000,).
    """

    alive: BoolArray
    trie: Trie
    sums: tuple[KeptSums, ...]
    heaviest: Int32Array
    latest: Int32Array

    @property
    def popular(self) -> Int32Array:
        """Return the rows listed as popular. Shape: (<= 1000,)."""
        return self.heaviest[:MAX_LISTED_ROWS]

    @property
    def newest(self) -> Int32Array:
        """Return the rows listed as new. Shape: (<= 1000,)."""
        return self.latest[:MAX_LISTED_ROWS]


@dataclass(frozen=True, eq=False, slots=True)
class SnapshotDelta:
    """Difference between the live rows of two successive snapshots.

    Attributes:
        removed: Rows that are no longer in a bucket. Shape: (rows removed,).
        added: Rows that are now in a bucket. Shape: (rows added,).
        splices: How each level of the trie was merged; None if the trie was built from scratch.
    """

    removed: Int32Array
    added: Int32Array
    splices: tuple[Splice, ...] | None


def build_live_rows(store: RowStore, alive: BoolArray, codebook_sizes: tuple[int, ...]) -> LiveRows:
    """Build trie and lists from scratch.

    Args:
        store: The store; means of SIDs shared by several items are appended to it.
        alive: Mask of the rows to put into buckets.
            Shape: (R,).
        codebook_sizes: Codes per level.

    Returns:
        The live rows.
    """
    rows, members = store.rows(), np.flatnonzero(alive).astype(np.int32)
    trie, sums = build_trie(store, members, codebook_sizes)
    return LiveRows(
        alive=alive,
        trie=trie,
        sums=sums,
        heaviest=_heaviest(rows, members),
        latest=_latest(rows, members),
    )


def merge_live_rows(
    before: LiveRows, store: RowStore, alive: BoolArray, codebook_sizes: tuple[int, ...]
) -> tuple[LiveRows, SnapshotDelta]:
    """Merge changed rows into the previous live rows.

    Args:
        before: The previous live rows of the same store, which may have had fewer rows.
        store: The store; means of SIDs shared by several items are appended to it.
        alive: Mask of the rows to be in buckets.
            Shape: (R,).
        codebook_sizes: Codes per level.

    Returns:
        What `build_live_rows` returns for the same rows, and the difference.
    """
    known = before.alive.size
    removed = np.flatnonzero(before.alive & ~alive[:known]).astype(np.int32)
    added = np.flatnonzero(alive[:known] & ~before.alive).astype(np.int32)
    added = np.concatenate((added, known + np.flatnonzero(alive[known:]).astype(np.int32)))
    num_changed = removed.size + added.size
    if not num_changed:
        return replace(before, alive=alive), SnapshotDelta(removed, added, ())
    if num_changed > _MAX_MERGED_SHARE * before.trie.bucket_rows.size:
        return build_live_rows(store, alive, codebook_sizes), SnapshotDelta(removed, added, None)
    after = merge_trie(before.trie, before.sums, store, removed, added)
    rows, num_before = store.rows(), before.trie.bucket_rows.size
    heaviest = _update_list(before.heaviest, num_before, alive, added, lambda some: _heaviest(rows, some))
    latest = _update_list(before.latest, num_before, alive, added, lambda some: _latest(rows, some))
    return LiveRows(alive, after.trie, after.sums, heaviest, latest), SnapshotDelta(removed, added, after.splices)


def compact_live_rows(live_rows: LiveRows, store: RowStore, kept: Int32Array) -> tuple[LiveRows, RowStore]:
    """Copy the rows to keep into a new store, without outdated rows and means.

    Args:
        live_rows: Live rows with the row numbers of `store`.
        store: The store; it is not changed.
        kept: Rows to keep, ascending, with all live rows among them; the order within a bucket stays the same.
            Shape: (n,).

    Returns:
        The live rows with the row numbers of the new store, and that store.
    """
    numbers = np.full(store.size, -1, dtype=np.int32)
    numbers[kept] = np.arange(kept.size, dtype=np.int32)
    fresh, old, trie = store.copy_rows(kept), store.rows(), live_rows.trie
    leaf_rows = numbers[trie.leaf_rows]
    shared = np.flatnonzero(trie.leaf_rows < 0)
    places = trie.leaf_rows[shared]
    leaf_rows[shared] = fresh.append_means(old.vector_table[places], old.scale_table[places])
    trie = replace(trie, bucket_rows=numbers[trie.bucket_rows], leaf_rows=leaf_rows)
    lists = numbers[live_rows.heaviest], numbers[live_rows.latest]
    return LiveRows(live_rows.alive[kept], trie, live_rows.sums, *lists), fresh


def _heaviest(rows: Rows, members: Int32Array) -> Int32Array:
    # Ties are broken by key: the order of rows differs between workers, and most weights are equal.
    return top_rows(members, rows.weights[members], ~rows.keys[members], MAX_LISTED_ROWS + _RESERVE_ROWS)


def _latest(rows: Rows, members: Int32Array) -> Int32Array:
    return top_rows(members, rows.published_s[members], rows.first_seen[members], MAX_LISTED_ROWS + _RESERVE_ROWS)


def _update_list(
    listed: Int32Array,
    num_before: int,
    alive: BoolArray,
    added: Int32Array,
    best_of: Callable[[Int32Array], Int32Array],
) -> Int32Array:
    """Update a top list with added rows, up to the point where a row that was never listed could rank higher."""
    remaining = listed[alive[listed]]
    best = best_of(np.concatenate((remaining, added)))
    if listed.size == num_before:
        return best
    if remaining.size:
        # Rows that were never listed rank no higher than the last remaining one.
        best = best[: int(np.flatnonzero(best == remaining[-1])[0]) + 1] if remaining[-1] in best else best
    else:
        best = best[:0]
    if best.size < MAX_LISTED_ROWS:
        return best_of(np.flatnonzero(alive).astype(np.int32))
    return best
