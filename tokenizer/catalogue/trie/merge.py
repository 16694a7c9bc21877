"""Sorted merge of changes into a trie; the result equals a trie built from scratch.

Only what the change touches is computed: the SIDs of added and removed rows, and the prefixes above them, whose means
continue from sums kept at the previous merge. Everything else is copied in one pass per array.

Shape legend: k = touched prefixes of a level, n = nodes of a level before, n' = after, q = rows added or removed.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.rows import Rows, RowStore
from sidestream.tokenizer.catalogue.trie.csr import Splice, ranges, ranks
from sidestream.tokenizer.catalogue.trie.means import Changed, KeptSums, merge_means
from sidestream.tokenizer.catalogue.trie.sums import Nodes, joined
from sidestream.tokenizer.catalogue.trie.trie import Trie, items_of, leaves_of, lower_bounds, node_starts

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False, slots=True)
class MergedTrie:
    """A trie after a merge, with the splices that produced it.

    Attributes:
        trie: The trie.
        sums: Sums for the next merge, by inner level.
        splices: One per level; its fresh nodes are those that the change touched.
    """

    trie: Trie
    sums: tuple[KeptSums, ...]
    splices: tuple[Splice, ...]


class _Touched(NamedTuple):
    """The prefixes of one level that a change touches, in order.

    `parents` indexes the touched prefixes of the level above; `old` is the node before the merge or -1; `places` is its
    position, or the position at which it would be inserted.
    """

    parents: Int64Array
    codes: npt.NDArray[np.uint16]
    old: Int64Array
    places: Int64Array


class _Level(NamedTuple):
    """One level after the merge; `below` are the offsets of its children, `nodes` is None on the last level."""

    codes: Int32Array
    below: Int32Array
    nodes: Nodes | None
    log_mass: npt.NDArray[np.float32]
    splice: Splice


def merge_trie(
    trie: Trie, sums: tuple[KeptSums, ...], store: RowStore, removed: Int32Array, added: Int32Array
) -> MergedTrie:
    """Remove rows from a trie and add others.

    Args:
        trie: The trie before; it is not changed.
        sums: Sums kept with it, by inner level; not changed either.
        store: The store of all rows; means of SIDs shared by several items are appended to it.
        removed: Rows to remove from their buckets.
            Shape: (rows removed,).
        added: Rows to add, which are in no bucket.
            Shape: (rows added,).

    Returns:
        The trie afterwards: the same arrays as `build_trie` returns for the same rows. The kept sums may differ.
    """
    rows = store.rows()
    items, changed = items_of(rows), np.concatenate((removed, added))
    touched, owners = _touch(trie, rows.codes[changed])
    picks, counts, bucket_rows = _buckets(trie, rows, touched[-1], removed, added, owners[removed.size :])
    leaf_rows, masses = leaves_of(store, picks, _offsets(counts[counts > 0]))
    changes = Changed(items.take(changed), np.repeat((-1, 1), (removed.size, added.size)), touched[-1].parents[owners])
    levels: list[_Level] = []
    kept: list[KeptSums] = []
    for level in reversed(range(trie.num_levels)):
        here, live = touched[level], np.flatnonzero(counts > 0)
        splice = Splice(trie.level_codes[level].size, here.old[here.old >= 0], here.places[live])
        below = splice.offsets(trie.below(level), counts[live])
        fresh = None
        if levels:
            nodes_below = levels[-1].nodes
            # SIDs with one prefix are adjacent, and so are their items.
            source, offsets = (items, levels[-1].below[below]) if nodes_below is None else (nodes_below, below)
            members = bucket_rows if nodes_below is None else np.arange(below[-1])
            changes = changes._replace(owners=ranks(live, here.old.size)[changes.owners])
            fresh, its_sums = merge_means(source, members, offsets, sums[level], splice, here.old[live], changes)
            kept.append(its_sums)
            changes = _changes_above(trie.nodes(level), here, live, fresh)
        levels.append(_merge_level(trie, level, here.codes[live], below, fresh, masses, splice))
        if level:
            counts = _counts_above(trie.below(level - 1), touched[level - 1], here, live)
    levels.reverse()
    upper = [level.nodes for level in levels if level.nodes is not None]
    root = np.array([0, levels[0].codes.size], dtype=np.int32)
    merged = Trie(
        level_codes=tuple(level.codes for level in levels),
        level_offsets=(root, *(level.below for level in levels[:-1])),
        bucket_offsets=levels[-1].below,
        bucket_rows=bucket_rows,
        node_vectors=tuple(nodes.vectors for nodes in upper),
        node_scales=tuple(nodes.scales for nodes in upper),
        node_masses=tuple(nodes.masses for nodes in upper),
        leaf_rows=levels[-1].splice.apply(trie.leaf_rows, leaf_rows),
        node_log_mass=tuple(level.log_mass for level in levels),
    )
    return MergedTrie(merged, tuple(reversed(kept)), tuple(level.splice for level in levels))


def _merge_level(
    trie: Trie,
    level: int,
    codes: npt.NDArray[np.uint16],
    below: Int32Array,
    fresh: Nodes | None,
    leaf_masses: npt.NDArray[np.float32],
    splice: Splice,
) -> _Level:
    """Merge one level, given the codes and nodes of touched prefixes; on the last level only their masses."""
    nodes, masses = None, leaf_masses
    if fresh is not None:
        old, masses = trie.nodes(level), fresh.masses
        nodes = Nodes(
            splice.apply(old.vectors, fresh.vectors),
            splice.apply(old.scales, fresh.scales),
            splice.apply(old.masses, fresh.masses),
        )
    log_mass = splice.apply(trie.node_log_mass[level], np.log(masses))
    return _Level(splice.apply(trie.level_codes[level], codes), below, nodes, log_mass, splice)


def _changes_above(old: Nodes, here: _Touched, live: Int64Array, fresh: Nodes) -> Changed:
    """Describe the change of a level to the level above: touched nodes as they were, and as they are now."""
    were = np.flatnonzero(here.old >= 0)
    owners = np.concatenate((here.parents[were], here.parents[live]))
    return Changed(joined(old.take(here.old[were]), fresh), np.repeat((-1, 1), (were.size, live.size)), owners)


def _touch(trie: Trie, codes: npt.NDArray[np.uint16]) -> tuple[list[_Touched], Int64Array]:
    """List touched prefixes level by level; also the touched SID of each row. Shape: codes (q, L)."""
    order = np.lexsort(codes.T[::-1])
    codes = codes[order]
    old = places = above = np.zeros(1, dtype=np.int64)
    levels = []
    for level, starts in enumerate(node_starts(codes)):
        parents, wanted = np.searchsorted(above, starts, side="right") - 1, codes[starts, level]
        offsets, children = trie.level_offsets[level], trie.level_codes[level]
        begins = offsets[places[parents]].astype(np.int64)
        ends = np.where(old[parents] >= 0, offsets.take(places[parents] + 1, mode="clip"), begins)
        places = lower_bounds(children, begins, ends, wanted) if children.size else begins
        old = np.full(starts.size, -1, dtype=np.int64)
        inside = places < ends
        inside[inside] = children[places[inside]] == wanted[inside]
        old[inside] = places[inside]
        levels.append(_Touched(parents, wanted, old, places))
        above = starts
    owners = np.empty(len(codes), dtype=np.int64)
    owners[order] = np.searchsorted(above, np.arange(len(codes)), side="right") - 1
    return levels, owners


def _buckets(
    trie: Trie, rows: Rows, leaves: _Touched, removed: Int32Array, added: Int32Array, owners: Int64Array
) -> tuple[Int32Array, Int64Array, Int32Array]:
    """Rebuild the touched buckets: return their rows, their sizes, and all bucket rows after the merge."""
    known = np.flatnonzero(leaves.old >= 0)
    places, _ = ranges(trie.bucket_offsets, leaves.old[known])
    before = trie.bucket_rows[places]
    sizes = trie.bucket_offsets[leaves.old[known] + 1] - trie.bucket_offsets[leaves.old[known]]
    leaving = np.zeros(rows.keys.size, dtype=np.bool_)
    leaving[removed] = True
    stays = ~leaving[before]
    picks = np.concatenate((before[stays], added))
    owners = np.concatenate((np.repeat(known, sizes)[stays], owners))
    order = np.lexsort((picks, -rows.weights[picks], owners))
    picks, owners = picks[order], owners[order]
    splice = Splice(trie.bucket_rows.size, places, trie.bucket_offsets[leaves.places[owners]].astype(np.int64))
    return picks, np.bincount(owners, minlength=leaves.old.size), splice.apply(trie.bucket_rows, picks)


def _counts_above(below: Int32Array, above: _Touched, here: _Touched, live: Int64Array) -> Int64Array:
    """Count the children of touched prefixes after the merge. Shape: (k,)."""
    size = above.old.size
    counts = np.where(above.old >= 0, below.take(above.old + 1, mode="clip") - below[above.old], 0)
    counts = counts - np.bincount(here.parents[here.old >= 0], minlength=size)
    return counts + np.bincount(here.parents[live], minlength=size)


def _offsets(counts: IntArray) -> Int32Array:
    """Convert lengths of ranges to offsets."""
    offsets = np.zeros(counts.size + 1, dtype=np.int32)
    np.cumsum(counts, dtype=np.int32, out=offsets[1:])
    return offsets
