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

# Vectors widened to float at a time: 4 MB for d = 128, which stays in a core's cache.
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


def means(source: Nodes, picks: IntArray, offsets: IntArray) -> Nodes:
    """Take weighted means over ranges.

    Args:
        source: What the means are of.
        picks: Places in the source, range after range.
            Shape: (k,).
        offsets: Where the ranges of picks begin and end, none of them empty.
            Shape: (n + 1,).

    Returns:
        One node a range; a range of one has the vector of its only member, unrounded.
    """
    lengths = np.diff(offsets)
    vectors = np.empty((lengths.size, source.vectors.shape[1]), dtype=np.int8)
    scales = np.empty(lengths.size, dtype=np.float32)
    weights = source.masses[picks]
    masses = _sums(weights, offsets)
    weights *= source.scales[picks]
    alone = np.flatnonzero(lengths == 1)
    only = picks[offsets[alone]]
    vectors[alone], scales[alone] = source.vectors.take(only, axis=0), source.scales[only]
    many = np.flatnonzero(lengths > 1)
    # Ranges of one length are summed by one call.
    many = many[np.argsort(lengths[many], kind="stable")]
    values = np.empty((0, vectors.shape[1]), dtype=np.float32)
    for nodes in _chunks(many, offsets):
        places, _ = ranges(offsets, nodes)
        if len(values) < places.size:
            values = np.empty((max(places.size, _PICKS_PER_CHUNK), values.shape[1]), dtype=np.float32)
        np.copyto(values[: places.size], source.vectors.take(picks[places], axis=0))
        sums = _weighted_sums(values[: places.size], weights[places], lengths[nodes])
        sums /= masses[nodes, None]
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


def _chunks(nodes: Int64Array, offsets: IntArray) -> Iterator[Int64Array]:
    """Cut nodes into runs with a bounded number of picks, but for a single node that has more."""
    ends = np.cumsum(offsets[nodes + 1] - offsets[nodes], dtype=np.int64)
    begin = 0
    while begin < nodes.size:
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PICKS_PER_CHUNK, side="right")))
        yield nodes[begin:end]
        begin = end


def _weighted_sums(values: Float32Array, weights: Float32Array, lengths: IntArray) -> Float32Array:
    """Sum weighted rows over consecutive ranges, shortest first; what a range gives depends on nothing outside it.

    Not by `np.add.reduceat`, which is ten times slower on rows of 128 floats, nor by BLAS, whose order is its own.
    """
    dim = values.shape[1]
    sums = np.empty((lengths.size, dim), dtype=np.float32)
    begin = 0
    kinds, counts = np.unique(lengths, return_counts=True)
    done = np.concatenate(([0], np.cumsum(counts))).tolist()
    for place, (length, count) in enumerate(zip(kinds.tolist(), counts.tolist(), strict=True)):
        end = begin + length * count
        some, theirs = values[begin:end].reshape(count, length, dim), weights[begin:end].reshape(count, length)
        np.einsum("nk,nkd->nd", theirs, some, out=sums[done[place] : done[place + 1]])
        begin = end
    return sums
