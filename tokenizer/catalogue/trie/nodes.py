"""Nodes as things to take means of: int8 vectors with scale and mass, ranges of them, weighted sums over those.

Shape legend: n = ranges, k = picks, d = dimensions of a vector.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.integer]
Weights = TypeVar("Weights", Float32Array, npt.NDArray[np.int32])

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

    @classmethod
    def room(cls, size: int, dim: int) -> Self:
        """Make room for nodes; what it holds is undefined."""
        scales, masses = np.empty((2, size), dtype=np.float32)
        return cls(np.empty((size, dim), dtype=np.int8), scales, masses)

    def put(self, places: IntArray, nodes: "Nodes") -> None:
        """Write some of them."""
        self.vectors[places], self.scales[places], self.masses[places] = nodes

    def take(self, places: IntArray) -> "Nodes":
        """Copy some of them."""
        return Nodes(self.vectors.take(places, axis=0), self.scales.take(places), self.masses.take(places))


def joined(first: Nodes, second: Nodes) -> Nodes:
    """Put nodes behind others.

    Args:
        first: Some nodes.
        second: Others.

    Returns:
        All of them.
    """
    scales = np.concatenate((first.scales, second.scales))
    masses = np.concatenate((first.masses, second.masses))
    return Nodes(np.concatenate((first.vectors, second.vectors)), scales, masses)


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
    if offsets.size <= 1:
        return np.empty(0, dtype=np.float32)
    sums: Float32Array = np.add.reduceat(masses[picks], offsets[:-1])
    return sums


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


def ranks(places: IntArray, size: int) -> Int64Array:
    """Number some places in the order given.

    Args:
        places: All different.
            Shape: (k,).
        size: Of the array that they are places in.

    Returns:
        The number of each place, -1 for all others, and one more of those behind them: -1 counts from the end.
        Shape: (size + 1,).
    """
    numbers = np.full(size + 1, -1, dtype=np.int64)
    numbers[places] = np.arange(places.size)
    return numbers


def chunks(nodes: Int64Array, lengths: IntArray) -> Iterator[Int64Array]:
    """Cut nodes into runs with a bounded number of picks, but for a single node that has more.

    Args:
        nodes: Any.
            Shape: (n,).
        lengths: Picks of each.
            Shape: (n,).

    Yields:
        Consecutive nodes.
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    begin = done = 0
    while begin < nodes.size:
        end = max(begin + 1, int(np.searchsorted(ends, done + _PICKS_PER_CHUNK, side="right")))
        yield nodes[begin:end]
        begin, done = end, int(ends[end - 1])


def weighted_sums(vectors: Int8Array, weights: Weights, lengths: IntArray) -> Weights:
    """Sum weighted rows over consecutive ranges, the shortest first.

    Not by `np.add.reduceat`, which is ten times slower on rows of 128. The int8 components are widened by `einsum` some
    thousand at a time, in a core's nearest cache.

    Args:
        vectors: Rows, range after range.
            Shape: (k, d).
        weights: Of rows; sums have their type.
            Shape: (k,).
        lengths: Of the ranges, ascending.
            Shape: (n,).

    Returns:
        One sum a range.
        Shape: (n, d).
    """
    dim = vectors.shape[1]
    sums = np.empty((lengths.size, dim), dtype=weights.dtype)
    begin = 0
    firsts: list[int] = np.flatnonzero(np.diff(lengths, prepend=0)).tolist()
    for first, last in pairwise([*firsts, lengths.size]):
        shape = (last - first, int(lengths[first]))
        end = begin + shape[0] * shape[1]
        some, theirs = vectors[begin:end].reshape(*shape, dim), weights[begin:end].reshape(shape)
        np.einsum("nk,nkd->nd", theirs, some, out=sums[first:last])
        begin = end
    return sums
