"""Owns the sorted merge: makes the trie after a change from the trie before it, equal to one built from scratch.

Only what the change touches is computed: the SIDs of the rows that came or went, and the prefixes above them. All the
rest is copied in one pass per array, so a merge costs a few sequential copies and the means of the touched nodes.

Shape legend: k = touched prefixes of a level, n = nodes of a level before, n' = after, q = rows that came or went.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tokenizer.catalogue.nodes import Nodes, means, ranges
from tokenizer.catalogue.rows import Rows, RowStore
from tokenizer.catalogue.splice import Splice
from tokenizer.catalogue.trie import Trie, items_of, leaves_of, lower_bounds

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False, slots=True)
class Merged:
    """A trie after a merge, and how its levels came about.

    Attributes:
        trie: The trie.
        splices: One per level: its fresh nodes are those that the change touched.
    """

    trie: Trie
    splices: tuple[Splice, ...]


class _Touched(NamedTuple):
    """The prefixes of one level that a change touches, in order.

    `parents` counts touched prefixes of the level above; `old` is the node before the merge or -1; `places` is where it
    stands or would stand.
    """

    parents: Int64Array
    codes: Int64Array
    old: Int64Array
    places: Int64Array


class _Level(NamedTuple):
    """One level after the merge; `below` are the offsets of what lies below it, `nodes` is None on the last level."""

    codes: Int32Array
    below: Int32Array
    nodes: Nodes | None
    log_mass: npt.NDArray[np.float32]
    splice: Splice


def merge_trie(
    trie: Trie, store: RowStore, gone: Int32Array, come: Int32Array, codebook_sizes: tuple[int, ...]
) -> Merged:
    """Take rows out of a trie and put others in.

    Args:
        trie: The trie before; it is not changed.
        store: The store, which holds both; means of SIDs that several items share are appended to it.
        gone: Rows in buckets that leave them.
            Shape: (rows gone,).
        come: Rows in no bucket that get a place.
            Shape: (rows come,).
        codebook_sizes: Codes per level, all above those used.

    Returns:
        The trie afterwards: the same arrays as `build_trie` gives for the same rows.
    """
    rows = store.rows()
    touched, owners = _touch(trie, rows.codes[np.concatenate((gone, come))], codebook_sizes)
    picks, counts, bucket_rows = _buckets(trie, rows, touched[-1], gone, come, owners[gone.size :])
    leaf_rows, masses = leaves_of(store, picks, _offsets(counts[counts > 0]))
    levels: list[_Level] = []
    for level in reversed(range(trie.num_levels)):
        here = touched[level]
        levels.append(_merge_level(trie, level, here, counts, rows, bucket_rows, masses, levels))
        if level:
            counts = _counts_above(trie.below(level - 1), touched[level - 1], here, np.flatnonzero(counts > 0))
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
    return Merged(merged, tuple(level.splice for level in levels))


def _merge_level(
    trie: Trie,
    level: int,
    here: _Touched,
    counts: Int64Array,
    rows: Rows,
    bucket_rows: Int32Array,
    leaf_masses: npt.NDArray[np.float32],
    levels: list[_Level],
) -> _Level:
    """Merge one level; `counts` are the children of its touched nodes afterwards, `levels` those below, last first."""
    live = np.flatnonzero(counts > 0)
    splice = Splice(trie.level_codes[level].size, here.old[here.old >= 0], here.places[live])
    below = _offsets(splice.applied(np.diff(trie.below(level)), counts[live]))
    nodes, masses = None, leaf_masses
    if levels:
        fresh = _fresh_nodes(rows, bucket_rows, below, splice.fresh, levels)
        old, masses = trie.nodes(level), fresh.masses
        nodes = Nodes(
            splice.applied(old.vectors, fresh.vectors),
            splice.applied(old.scales, fresh.scales),
            splice.applied(old.masses, fresh.masses),
        )
    log_mass = splice.applied(trie.node_log_mass[level], np.log(masses))
    codes = splice.applied(trie.level_codes[level], here.codes[live])
    return _Level(codes, below, nodes, log_mass, splice)


def _touch(
    trie: Trie, codes: npt.NDArray[np.uint16], codebook_sizes: tuple[int, ...]
) -> tuple[list[_Touched], Int64Array]:
    """List the touched prefixes level by level; also which SID of the last level each row has. Shape: codes (q, L)."""
    owners = np.zeros(len(codes), dtype=np.int64)
    old = places = np.zeros(1, dtype=np.int64)
    levels = []
    for level, size in enumerate(codebook_sizes):
        names, owners = np.unique(owners * size + codes[:, level], return_inverse=True)
        parents, wanted = np.divmod(names, size)
        offsets, children = trie.level_offsets[level], trie.level_codes[level]
        starts = offsets[places[parents]].astype(np.int64)
        ends = np.where(old[parents] >= 0, offsets.take(places[parents] + 1, mode="clip"), starts)
        places = lower_bounds(children, starts, ends, wanted) if children.size else starts
        old = np.full(names.size, -1, dtype=np.int64)
        inside = places < ends
        inside[inside] = children[places[inside]] == wanted[inside]
        old[inside] = places[inside]
        levels.append(_Touched(parents, wanted, old, places))
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


def _fresh_nodes(
    rows: Rows, bucket_rows: Int32Array, below: Int32Array, fresh: Int64Array, levels: list[_Level]
) -> Nodes:
    """Take the means of the touched nodes of a level; `levels` are those below it, the last one first."""
    nodes_below = levels[-1].nodes
    if nodes_below is not None:
        return means(nodes_below, np.arange(below[-1]), below, fresh)
    # SIDs below one prefix are neighbours, and so are their items.
    return means(items_of(rows), bucket_rows, levels[-1].below[below], fresh)


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
