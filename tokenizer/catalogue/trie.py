"""Owns the trie of SIDs as CSR arrays: which codes follow a prefix, which items share a SID, what lies below a node.

Nodes of a level are numbered in the order of (parent, code); a node of the last level is a SID and its number is also
the number of its bucket. `level_offsets[l][p]:level_offsets[l][p + 1]` are the children of node p of the level above;
level 0 hangs below one root.

Source: Su et al., "Vectorizing the Trie" (STATIC), arXiv 2602.22647, section 4, for the trie as flat CSR arrays.

Shape legend: m = items in buckets, n_l = nodes of level l, L = levels, d = dimensions of an item vector.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tokenizer.catalogue.rows import Rows

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

# Leaves whose item vectors are widened to float at a time: bounds the build's peak at some 16 MB for d = 128.
_LEAVES_PER_CHUNK = 32_768
_MAX_PACKED = 2**64
# Fewer ranges than this are summed one by one: a step over all of them would not pay for its overhead.
_MIN_STEP_RANGES = 64


@dataclass(frozen=True, eq=False, slots=True)
class Trie:
    """The arrays of one trie.

    Attributes:
        level_codes: Code of each node. Shape: L x (n_l,).
        level_offsets: Children ranges. Shape: L x (n_{l-1} + 1,), with n_{-1} = 1.
        bucket_offsets: Item ranges of the SIDs. Shape: (n_{L-1} + 1,).
        bucket_rows: Rows of the items, best first within a bucket. Shape: (m,).
        node_vectors: Weighted mean of the item vectors below a node, int8. Shape: L x (n_l, d).
        node_scales: Component = int8 * scale. Shape: L x (n_l,).
        node_log_mass: Logarithm of the sum of the weights below a node. Shape: L x (n_l,).
    """

    level_codes: tuple[Int32Array, ...]
    level_offsets: tuple[Int32Array, ...]
    bucket_offsets: Int32Array
    bucket_rows: Int32Array
    node_vectors: tuple[Int8Array, ...]
    node_scales: tuple[Float32Array, ...]
    node_log_mass: tuple[Float32Array, ...]


class _Nodes(NamedTuple):
    """Items or nodes of one level while the tree is summed up: vector, scale, weight sum, sum of weight * vector."""

    vectors: Int8Array
    scales: Float32Array
    masses: Float32Array
    sums: Float32Array


def build_trie(rows: Rows, members: Int32Array, codebook_sizes: tuple[int, ...]) -> Trie:
    """Build the trie over some rows.

    Args:
        rows: The store.
        members: Rows that get a place in a bucket.
            Shape: (m,).
        codebook_sizes: Codes per level, all above those used.

    Returns:
        The trie; equal inputs give equal arrays, whatever the order of `members`.
    """
    ordered = members[_bucket_order(rows, members, codebook_sizes)]
    codes = rows.codes[ordered]
    starts = _node_starts(codes)
    num_levels = len(codebook_sizes)
    level_codes = tuple(codes[starts[level], level].astype(np.int32) for level in range(num_levels))
    first_of_parent = (np.zeros(1, dtype=np.int64), *starts[:-1])
    level_offsets = tuple(
        np.append(np.searchsorted(starts[level], first_of_parent[level]), starts[level].size).astype(np.int32)
        for level in range(num_levels)
    )
    below = _leaves(rows, ordered, starts[-1])
    nodes = [below]
    for offsets in reversed(level_offsets[1:]):
        below = _above(below, offsets)
        nodes.append(below)
    nodes.reverse()
    return Trie(
        level_codes=level_codes,
        level_offsets=level_offsets,
        bucket_offsets=np.append(starts[-1], ordered.size).astype(np.int32),
        bucket_rows=ordered,
        node_vectors=tuple(node.vectors for node in nodes),
        node_scales=tuple(node.scales for node in nodes),
        node_log_mass=tuple(np.log(node.masses) for node in nodes),
    )


def node_keys(trie: Trie, codebook_sizes: tuple[int, ...]) -> tuple[Int64Array, ...]:
    """Name each node by its parent and code, for searching.

    Args:
        trie: The trie.
        codebook_sizes: Codes per level.

    Returns:
        parent * codebook size + code, ascending.
        Shape: L x (n_l,).
    """
    keys = []
    for codes, offsets, size in zip(trie.level_codes, trie.level_offsets, codebook_sizes, strict=True):
        parents = np.repeat(np.arange(offsets.size - 1, dtype=np.int64), np.diff(offsets))
        keys.append(parents * size + codes)
    return tuple(keys)


def find_leaves(keys: tuple[Int64Array, ...], codes: Int32Array, codebook_sizes: tuple[int, ...]) -> Int32Array:
    """Find SIDs in a trie.

    Args:
        keys: What `node_keys` returned.
            Shape: L x (n_l,).
        codes: SIDs, any codes.
            Shape: (n, L).
        codebook_sizes: Codes per level.

    Returns:
        Node of the last level, -1 where the trie does not hold the SID.
        Shape: (n,).
    """
    node = np.zeros(len(codes), dtype=np.int64)
    for level, size in enumerate(codebook_sizes):
        children = keys[level]
        if not children.size:
            return np.full(len(codes), -1, dtype=np.int32)
        wanted = node * size + codes[:, level]
        place = np.minimum(np.searchsorted(children, wanted), children.size - 1)
        # A code out of range would otherwise name a child of a neighbour.
        in_range = (node >= 0) & (codes[:, level] >= 0) & (codes[:, level] < size)
        node = np.where(in_range & (children[place] == wanted), place, -1)
    return node.astype(np.int32)


def quantize(vectors: Float32Array) -> tuple[Int8Array, Float32Array]:
    """Round vectors to int8 with one scale a row.

    Args:
        vectors: Finite values.
            Shape: (n, d).

    Returns:
        Components in [-127, 127] and scales; a zero vector has scale 0.
        Shape: (n, d) and (n,).
    """
    scales = (np.abs(vectors).max(axis=1, initial=0.0) / 127.0).astype(np.float32)
    steps = vectors / np.where(scales > 0, scales, np.float32(1))[:, None]
    # The largest component is 127 up to rounding, so nothing is left to clip.
    return np.rint(steps, out=steps).astype(np.int8), scales


def _bucket_order(rows: Rows, members: Int32Array, codebook_sizes: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Order by SID, then weight descending, then row."""
    codes = rows.codes[members]
    weights = -rows.weights[members]
    if np.prod([float(size) for size in codebook_sizes]) < _MAX_PACKED / 2:
        packed = np.zeros(members.size, dtype=np.uint64)
        for level, size in enumerate(codebook_sizes):
            packed = packed * np.uint64(size) + codes[:, level]
        return np.lexsort((members, weights, packed))
    return np.lexsort((members, weights, *codes.T[::-1]))


def _node_starts(codes: npt.NDArray[np.uint16]) -> list[npt.NDArray[np.int64]]:
    """Return, per level, the first item below each node, in items sorted by SID."""
    if not len(codes):
        return [np.empty(0, dtype=np.int64) for _ in range(codes.shape[1])]
    # An item opens a node of level l where any of its first l + 1 codes differs from its predecessor's.
    opens = np.ones(codes.shape, dtype=np.bool_)
    opens[1:] = np.logical_or.accumulate(codes[1:] != codes[:-1], axis=1)
    return [np.flatnonzero(opens[:, level]) for level in range(codes.shape[1])]


def _leaves(rows: Rows, ordered: Int32Array, starts: npt.NDArray[np.int64]) -> _Nodes:
    """Return the nodes of the last level."""
    parts = []
    ends = np.append(starts[1:], ordered.size)
    for first in range(0, max(starts.size, 1), _LEAVES_PER_CHUNK):
        last = min(first + _LEAVES_PER_CHUNK, starts.size)
        offsets = np.append(starts[first:last], ends[first:last][-1:]) if starts.size else np.zeros(1, dtype=np.int64)
        chunk = ordered[offsets[0] : offsets[-1]]
        vectors, scales, weights = rows.vectors[chunk], rows.scales[chunk], rows.weights[chunk]
        items = _Nodes(vectors, scales, weights, vectors * (scales * weights)[:, None])
        parts.append(_above(items, offsets - offsets[0]))
    return _Nodes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _above(children: _Nodes, offsets: npt.NDArray[np.integer]) -> _Nodes:
    """Return the nodes over consecutive non-empty ranges of children."""
    first = offsets[:-1]
    sums = _sum_ranges(children.sums, offsets)
    masses = np.add.reduceat(children.masses, first) if first.size else np.empty(0, dtype=np.float32)
    # A node over one child has its vector: most nodes are such, and need not be rounded anew.
    vectors, scales = children.vectors[first], children.scales[first]
    many = np.flatnonzero(np.diff(offsets) > 1)
    vectors[many], scales[many] = quantize(sums[many] / masses[many, None])
    return _Nodes(vectors, scales, masses, sums)


def _sum_ranges(values: Float32Array, offsets: npt.NDArray[np.integer]) -> Float32Array:
    """Sum rows over consecutive non-empty ranges.

    All ranges take one step at a time: for rows of 128 floats, 4 to 10 times faster than `np.add.reduceat`.
    """
    starts, lengths = offsets[:-1], np.diff(offsets)
    sums: Float32Array = values[starts]
    longer = np.flatnonzero(lengths > 1)
    step = 1
    while longer.size >= _MIN_STEP_RANGES:
        sums[longer] += values[starts[longer] + step]
        step += 1
        longer = longer[lengths[longer] > step]
    for place in longer.tolist():
        sums[place] = values[offsets[place] : offsets[place + 1]].sum(axis=0)
    return sums
