"""Owns node vectors: weighted means of int8 vectors over ranges, and the ranges themselves.

What lies below a node alone decides its vector, whether the trie is built or merged: the same children in the same
order give the same bytes. Nodes above the items' SIDs are means of the items; those further up are means of the nodes
below them, so each level adds at most half an int8 step of rounding, and no sums have to be kept.

Shape legend: n = ranges, k = picks, d = dimensions of a vector.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.integer]

# Vectors gathered at a time: 1 MB for d = 128, which stays in a core's cache.
_PICKS_PER_CHUNK = 8_192


class Nodes(NamedTuple):
    """Items or trie nodes as things to take means of.

    Attributes:
        vectors: int8 components. Shape: (n, d).
        scales: Component = int8 * scale. Shape: (n,).
        masses: Sum of the weights. Shape: (n,).
    """

    vectors: Int8Array
    scales: Float32Array
    masses: Float32Array


def means(source: Nodes, picks: IntArray, offsets: IntArray, parents: IntArray) -> Nodes:
    """Take weighted means over some ranges.

    Args:
        source: What the means are of.
        picks: Places in the source, range after range.
            Shape: (k,).
        offsets: Where the ranges of picks begin and end.
            Shape: (number of ranges + 1,).
        parents: The ranges to take means of, none of them empty.
            Shape: (n,).

    Returns:
        One node a parent; a range of one has the vector of its only member, unrounded.
    """
    lengths = offsets[parents + 1] - offsets[parents]
    vectors = np.empty((lengths.size, source.vectors.shape[1]), dtype=np.int8)
    scales, masses = np.empty((2, lengths.size), dtype=np.float32)
    alone = np.flatnonzero(lengths == 1)
    only = picks[offsets[parents[alone]]]
    vectors[alone], scales[alone] = source.vectors.take(only, axis=0), source.scales[only]
    masses[alone] = source.masses[only]
    many = np.flatnonzero(lengths > 1)
    # Ranges of one length are summed by one call.
    many = many[np.argsort(lengths[many], kind="stable")]
    for nodes in _chunks(many, lengths[many]):
        places, firsts = ranges(offsets, parents[nodes])
        members = picks.take(places).astype(np.intp, copy=False)
        weights = source.masses.take(members)
        masses[nodes] = here = np.add.reduceat(weights, firsts)
        weights *= source.scales.take(members)
        sums = _weighted_sums(source.vectors.take(members, axis=0), weights, lengths[nodes])
        sums /= here[:, None]
        vectors[nodes], scales[nodes] = quantize(sums)
    return Nodes(vectors, scales, masses)


def sum_masses(masses: Float32Array, picks: IntArray, offsets: IntArray) -> Float32Array:
    """Sum masses over ranges.

    Args:
        masses: What is summed.
            Shape: (any,).
        picks: Places in them, range after range.
            Shape: (k,).
        offsets: Where the ranges of picks begin and end, none of them empty.
            Shape: (n + 1,).

    Returns:
        One sum a range.
        Shape: (n,).
    """
    return _sums(masses[picks], offsets)


def ranges(offsets: IntArray, parents: IntArray) -> tuple[Int64Array, Int64Array]:
    """List the children of some nodes, one node after the other.

    Args:
        offsets: Children ranges.
            Shape: (number of nodes + 1,).
        parents: Nodes.
            Shape: (n,).

    Returns:
        The children, and where each node's begin among them.
        Shape: (k,) and (n,).
    """
    starts = offsets[parents].astype(np.int64)
    lengths = offsets[parents + 1] - starts
    firsts = np.cumsum(lengths) - lengths
    return np.repeat(starts - firsts, lengths) + np.arange(lengths.sum()), firsts


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


def _sums(values: Float32Array, offsets: IntArray) -> Float32Array:
    if offsets.size <= 1:
        return np.empty(0, dtype=np.float32)
    sums: Float32Array = np.add.reduceat(values, offsets[:-1])
    return sums


def _chunks(nodes: Int64Array, lengths: IntArray) -> Iterator[Int64Array]:
    """Cut nodes into runs with a bounded number of picks, but for a single node that has more."""
    ends = np.cumsum(lengths, dtype=np.int64)
    begin = done = 0
    while begin < nodes.size:
        end = max(begin + 1, int(np.searchsorted(ends, done + _PICKS_PER_CHUNK, side="right")))
        yield nodes[begin:end]
        begin, done = end, int(ends[end - 1])


def _weighted_sums(vectors: Int8Array, weights: Float32Array, lengths: IntArray) -> Float32Array:
    """Sum weighted rows over consecutive ranges, shortest first; what a range gives depends on nothing outside it.

    Not by `np.add.reduceat`, which is ten times slower on rows of 128, nor by BLAS, whose order is its own. The int8
    components are widened by `einsum` some thousand at a time, in a core's nearest cache.
    """
    dim = vectors.shape[1]
    sums = np.empty((lengths.size, dim), dtype=np.float32)
    begin = 0
    firsts = np.flatnonzero(np.diff(lengths, prepend=0)).tolist()
    for first, last in zip(firsts, [*firsts[1:], lengths.size], strict=True):
        shape = (last - first, int(lengths[first]))
        end = begin + shape[0] * shape[1]
        some, theirs = vectors[begin:end].reshape(*shape, dim), weights[begin:end].reshape(shape)
        np.einsum("nk,nkd->nd", theirs, some, out=sums[first:last])
        begin = end
    return sums
