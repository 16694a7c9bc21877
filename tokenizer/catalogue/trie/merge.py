"""The sorted merge: makes the trie after a change from the trie before it, equal to one built from scratch.

Only what the change touches is computed: the SIDs of the rows that came or went, and the prefixes above them, whose
means go on from sums kept at the merge before. All the rest is copied in one pass per array.

Shape legend: k = touched prefixes of a level, n = nodes of a level before, n' = after, q = rows that came or went.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.rows import Rows, RowStore
from sidestream.tokenizer.catalogue.trie.means import Changed, KeptSums, merged_means
from sidestream.tokenizer.catalogue.trie.nodes import Nodes, joined, ranges, ranks
from sidestream.tokenizer.catalogue.trie.splice import Splice
from sidestream.tokenizer.catalogue.trie.trie import Trie, items_of, leaves_of, lower_bounds, node_starts

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False, slots=True)
class Merged:
    """A trie after a merge, and how its levels came about.

    Attributes:
        trie: The trie.
        sums: For the next merge, by inner level.
        splices: One per level: its fresh nodes are those that the change touched.
    """

    trie: Trie
    sums: tuple[KeptSums, ...]
    splices: tuple[Splice, ...]


class _Touched(NamedTuple):
    """The prefixes of one level that a change touches, in order.

    `parents` counts touched prefixes of the level above; `old` is the node before the merge or -1; `places` is where it
    stands or would stand.
    """

    parents: Int64Array
    codes: npt.NDArray[np.uint16]
    old: Int64Array
    places: Int64Array


class _Level(NamedTuple):
    """One level after the merge; `below` are the offsets of what lies below it, `nodes` is None on the last level."""

    codes: Int32Array
    below: Int32Array
    nodes: Nodes | None
    log_mass: npt.NDArray[np.float32]
    splice: Splice


def merge_trie(trie: Trie, sums: tuple[KeptSums, ...], store: RowStore, gone: Int32Array, come: Int32Array) -> Merged:
    """Take rows out of a trie and put others in.

    Args:
        trie: The trie before; it is not changed.
        sums: What was kept with it, by inner level; not changed either.
        store: The store, which holds both; means of SIDs that several items share are appended to it.
        gone: Rows in buckets that leave them.
            Shape: (rows gone,).
        come: Rows in no bucket that get a place.
            Shape: (rows come,).

    Returns:
        The trie afterwards: the same arrays as `build_trie` gives for the same rows. The sums kept may be others.
    """
    rows = store.rows()
    items, changed = items_of(rows), np.concatenate((gone, come))
    touched, owners = _touch(trie, rows.codes[changed])
    picks, counts, bucket_rows = _buckets(trie, rows, touched[-1], gone, come, owners[gone.size :])
    leaf_rows, masses = leaves_of(store, picks, _offsets(counts[counts > 0]))
    moves = Changed(items.take(changed), np.repeat((-1, 1), (gone.size, come.size)), touched[-1].parents[owners])
    levels: list[_Level] = []
    kept: list[KeptSums] = []
    for level in reversed(range(trie.num_levels)):
        here, live = touched[level], np.flatnonzero(counts > 0)
        splice = Splice(trie.level_codes[level].size, here.old[here.old >= 0], here.places[live])
        below = splice.offsets(trie.below(level), counts[live])
        fresh = None
        if levels:
            nodes_below = levels[-1].nodes
            # SIDs below one prefix are neighbours, and so are their items.
            source, offsets = (items, levels[-1].below[below]) if nodes_below is None else (nodes_below, below)
            members = bucket_rows if nodes_below is None else np.arange(below[-1])
            moves = moves._replace(owners=ranks(live, here.old.size)[moves.owners])
            fresh, its_sums = merged_means(source, members, offsets, sums[level], splice, here.old[live], moves)
            kept.append(its_sums)
            moves = _moves(trie.nodes(level), here, live, fresh)
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
        leaf_rows=levels[-1].splice.applied(trie.leaf_rows, leaf_rows),
        node_log_mass=tuple(level.log_mass for level in levels),
    )
    return Merged(merged, tuple(reversed(kept)), tuple(level.splice for level in levels))


def _merge_level(
    trie: Trie,
    level: int,
    codes: npt.NDArray[np.uint16],
    below: Int32Array,
    fresh: Nodes | None,
    leaf_masses: npt.NDArray[np.float32],
    splice: Splice,
) -> _Level:
    """Merge one level, given the codes and nodes of those touched; on the last level their masses alone."""
    nodes, masses = None, leaf_masses
    if fresh is not None:
        old, masses = trie.nodes(level), fresh.masses
        nodes = Nodes(
            splice.applied(old.vectors, fresh.vectors),
            splice.applied(old.scales, fresh.scales),
            splice.applied(old.masses, fresh.masses),
        )
    log_mass = splice.applied(trie.node_log_mass[level], np.log(masses))
    return _Level(splice.applied(trie.level_codes[level], codes), below, nodes, log_mass, splice)


def _moves(old: Nodes, here: _Touched, live: Int64Array, fresh: Nodes) -> Changed:
    """Tell the level above what the touched nodes of a level were and what those left of them are."""
    were = np.flatnonzero(here.old >= 0)
    owners = np.concatenate((here.parents[were], here.parents[live]))
    return Changed(joined(old.take(here.old[were]), fresh), np.repeat((-1, 1), (were.size, live.size)), owners)


def _touch(trie: Trie, codes: npt.NDArray[np.uint16]) -> tuple[list[_Touched], Int64Array]:
    """List the touched prefixes level by level; also which SID of the last level each row has. Shape: codes (q, L)."""
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
    trie: Trie, rows: Rows, leaves: _Touched, gone: Int32Array, come: Int32Array, owners: Int64Array
) -> tuple[Int32Array, Int64Array, Int32Array]:
    """Fill the touched buckets anew: their rows, how many each has, and all bucket rows after the merge."""
    known = np.flatnonzero(leaves.old >= 0)
    places, _ = ranges(trie.bucket_offsets, leaves.old[known])
    before = trie.bucket_rows[places]
    sizes = trie.bucket_offsets[leaves.old[known] + 1] - trie.bucket_offsets[leaves.old[known]]
    leaving = np.zeros(rows.keys.size, dtype=np.bool_)
    leaving[gone] = True
    stays = ~leaving[before]
    picks = np.concatenate((before[stays], come))
    owners = np.concatenate((np.repeat(known, sizes)[stays], owners))
    order = np.lexsort((picks, -rows.weights[picks], owners))
    picks, owners = picks[order], owners[order]
    splice = Splice(trie.bucket_rows.size, places, trie.bucket_offsets[leaves.places[owners]].astype(np.int64))
    return picks, np.bincount(owners, minlength=leaves.old.size), splice.applied(trie.bucket_rows, picks)


def _counts_above(below: Int32Array, above: _Touched, here: _Touched, live: Int64Array) -> Int64Array:
    """Count the children that touched prefixes have after the merge. Shape: (k,)."""
    size = above.old.size
    counts = np.where(above.old >= 0, below.take(above.old + 1, mode="clip") - below[above.old], 0)
    counts = counts - np.bincount(here.parents[here.old >= 0], minlength=size)
    return counts + np.bincount(here.parents[live], minlength=size)


def _offsets(counts: IntArray) -> Int32Array:
    """Turn lengths into where ranges begin and end."""
    offsets = np.zeros(counts.size + 1, dtype=np.int32)
    np.cumsum(counts, dtype=np.int32, out=offsets[1:])
    return offsets
