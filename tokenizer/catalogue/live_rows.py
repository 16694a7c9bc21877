"""The live rows of a catalogue with their trie and short lists, built from scratch or merged from those before.

A merge gives what a build gives, array by array; which of the two is taken is a question of cost alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.top import top_rows
from sidestream.tokenizer.catalogue.rows import Rows, RowStore
from sidestream.tokenizer.catalogue.trie.means import KeptSums
from sidestream.tokenizer.catalogue.trie.merge import merge_trie
from sidestream.tokenizer.catalogue.trie.splice import Splice
from sidestream.tokenizer.catalogue.trie.trie import Trie, build_trie

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]

MAX_LISTED_ROWS = 1_000
# Kept beyond those listed, so that rows which go leave the lists full without a look at all others.
_RESERVE_ROWS = 1_000
# A merge copies all and computes what changed: beyond this share of changed rows a build costs no more.
_MAX_MERGED_SHARE = 0.25


@dataclass(frozen=True, eq=False, slots=True)
class LiveRows:
    """The rows that stand in a bucket.

    Attributes:
        alive: Rows that stand in a bucket. Shape: (R,).
        trie: Where they stand.
        sums: What the next merge goes on from, by inner level; no reader needs them.
        heaviest: The first of them, heaviest first, equals by key; more than are listed. Shape: (<= 2000,).
        latest: The first of them, newest first; more than are listed. Shape: (<= 2000,).
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
    """What changed from the live rows of one snapshot to those of the next.

    Attributes:
        gone: Rows that stand in no bucket any more. Shape: (rows gone,).
        come: Rows that do now. Shape: (rows come,).
        splices: How each level of the trie came about; None where it was built from scratch.
    """

    gone: Int32Array
    come: Int32Array
    splices: tuple[Splice, ...] | None


def built(store: RowStore, alive: BoolArray, codebook_sizes: tuple[int, ...]) -> LiveRows:
    """Build trie and lists from scratch.

    Args:
        store: The store; means of SIDs that several items share are appended to it.
        alive: Rows that get a place.
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


def merged(
    before: LiveRows, store: RowStore, alive: BoolArray, codebook_sizes: tuple[int, ...]
) -> tuple[LiveRows, SnapshotDelta]:
    """Make the live rows of those before.

    Args:
        before: The live rows among fewer or as many rows of the same store.
        store: The store; means of SIDs that several items share are appended to it.
        alive: Rows that stand in a bucket from now on.
            Shape: (R,).
        codebook_sizes: Codes per level.

    Returns:
        What `built` returns for the same rows, and what has changed.
    """
    known = before.alive.size
    gone = np.flatnonzero(before.alive & ~alive[:known]).astype(np.int32)
    come = np.flatnonzero(alive[:known] & ~before.alive).astype(np.int32)
    come = np.concatenate((come, known + np.flatnonzero(alive[known:]).astype(np.int32)))
    num_changed = gone.size + come.size
    if not num_changed:
        return replace(before, alive=alive), SnapshotDelta(gone, come, ())
    if num_changed > _MAX_MERGED_SHARE * before.trie.bucket_rows.size:
        return built(store, alive, codebook_sizes), SnapshotDelta(gone, come, None)
    after = merge_trie(before.trie, before.sums, store, gone, come)
    rows, num_before = store.rows(), before.trie.bucket_rows.size
    heaviest = _listed_anew(before.heaviest, num_before, alive, come, lambda some: _heaviest(rows, some))
    latest = _listed_anew(before.latest, num_before, alive, come, lambda some: _latest(rows, some))
    return LiveRows(alive, after.trie, after.sums, heaviest, latest), SnapshotDelta(gone, come, after.splices)


def compacted(live_rows: LiveRows, store: RowStore, kept: Int32Array) -> tuple[LiveRows, RowStore]:
    """Leave outdated rows and means behind.

    Args:
        live_rows: Numbered as in the store.
        store: The store; it is not changed.
        kept: Rows that the new store keeps, ascending, all those alive among them: the order in a bucket stays.
            Shape: (n,).

    Returns:
        The same rows in the numbers of the new store, and that store.
    """
    numbers = np.full(store.size, -1, dtype=np.int32)
    numbers[kept] = np.arange(kept.size, dtype=np.int32)
    fresh, old, trie = store.kept(kept), store.rows(), live_rows.trie
    leaf_rows = numbers[trie.leaf_rows]
    shared = np.flatnonzero(trie.leaf_rows < 0)
    places = trie.leaf_rows[shared]
    leaf_rows[shared] = fresh.append_means(old.vector_table[places], old.scale_table[places])
    trie = replace(trie, bucket_rows=numbers[trie.bucket_rows], leaf_rows=leaf_rows)
    lists = numbers[live_rows.heaviest], numbers[live_rows.latest]
    return LiveRows(live_rows.alive[kept], trie, live_rows.sums, *lists), fresh


def _heaviest(rows: Rows, members: Int32Array) -> Int32Array:
    # By key among equals: rows come in another order in every worker, and most weights are equal.
    return top_rows(members, rows.weights[members], ~rows.keys[members], MAX_LISTED_ROWS + _RESERVE_ROWS)


def _latest(rows: Rows, members: Int32Array) -> Int32Array:
    return top_rows(members, rows.published_s[members], rows.first_seen[members], MAX_LISTED_ROWS + _RESERVE_ROWS)


def _listed_anew(
    listed: Int32Array, num_before: int, alive: BoolArray, come: Int32Array, best_of: Callable[[Int32Array], Int32Array]
) -> Int32Array:
    """Make a list of the one before: its rows that are left and those that came, as far as others cannot be better."""
    left = listed[alive[listed]]
    best = best_of(np.concatenate((left, come)))
    if listed.size == num_before:
        return best
    if left.size:
        # Rows that were never listed are no better than the last one left.
        best = best[: int(np.flatnonzero(best == left[-1])[0]) + 1] if left[-1] in best else best
    else:
        best = best[:0]
    if best.size < MAX_LISTED_ROWS:
        return best_of(np.flatnonzero(alive).astype(np.int32))
    return best
