"""Exact sums and means of weighted int8 vectors, in integers, independent of the order of addition.

A sum of floats depends on the order of its members. Here every member enters a sum as integers that depend only on the
member and on the sum's grid; the grid follows from the number of members and the sum of their weights.

Shape legend: n = nodes or sums, k = picks, q = members, d = dimensions of a vector.
"""

from itertools import pairwise
from typing import NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.int8 import quantize_rows
from sidestream.tokenizer.catalogue.trie.csr import ranges

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.integer]
Weights = TypeVar("Weights", Float32Array, Int32Array)

# Fraction bits, and the largest weight of a member, item or node: larger weights are clipped, and half a million of the
# largest fit in 63 bits. Weights of items are far below (`check_vectors`); weight times scale is accurate to a
# hundredth from 1e-5 on, while scales of trained item vectors are about 3e-3.
_MASS_BITS, _MOST_MASS = 20, 2.0**24
_UNIT_BITS, _MOST_UNITS = 22, 2.0**22
# Bits that a sum's grid leaves for all weights together; times 127, plus half a step a member, 24 bits suffice for a
# few members, which float32 holds exactly, and 31 for many. One of 256 equal members is rounded by at most two
# thousandths of its weight, one of 65,536 by less than a hundredth; quantizing a mean to int8 rounds by half a
# hundredth.
_FEW, _FEW_STEP_BITS, _STEP_BITS = 256, 17, 23


class Nodes(NamedTuple):
    """Weighted int8 vectors of items or trie nodes.

    Attributes:
        vectors: int8 components. Shape: (n, d).
        scales: Component = int8 * scale. Shape: (n,).
        masses: Weight of the item, or sum of the weights below the node. Shape: (n,).
    """

    vectors: Int8Array
    scales: Float32Array
    masses: Float32Array

    @classmethod
    def empty(cls, size: int, dim: int) -> Self:
        """Allocate nodes with undefined content."""
        scales, masses = np.empty((2, size), dtype=np.float32)
        return cls(np.empty((size, dim), dtype=np.int8), scales, masses)

    def put(self, places: IntArray, nodes: "Nodes") -> None:
        """Write nodes at some positions."""
        self.vectors[places], self.scales[places], self.masses[places] = nodes

    def take(self, places: IntArray) -> "Nodes":
        """Copy the nodes at some positions."""
        return Nodes(self.vectors.take(places, axis=0), self.scales.take(places), self.masses.take(places))


def joined(first: Nodes, second: Nodes) -> Nodes:
    """Concatenate nodes."""
    scales = np.concatenate((first.scales, second.scales))
    masses = np.concatenate((first.masses, second.masses))
    return Nodes(np.concatenate((first.vectors, second.vectors)), scales, masses)


class Sums(NamedTuple):
    """Integer sums over the members of nodes.

    Attributes:
        shifts: A step of the vectors' grid is 2^shift units. Shape: (n,).
        units: Weight times scale, in 2^-22. Shape: (n,).
        masses: Weights, in 2^-20. Shape: (n,).
        vectors: int8 components times weight times scale, in steps of the grid. Shape: (n, d).
    """

    shifts: npt.NDArray[np.int8]
    units: Int64Array
    masses: Int64Array
    vectors: Int32Array

    @classmethod
    def empty(cls, size: int, dim: int) -> Self:
        """Allocate sums with undefined content."""
        units, masses = np.empty((2, size), dtype=np.int64)
        return cls(np.empty(size, dtype=np.int8), units, masses, np.empty((size, dim), dtype=np.int32))

    def take(self, places: IntArray) -> "Sums":
        """Copy the sums at some positions."""
        narrow = (self.shifts.take(places), self.units.take(places), self.masses.take(places))
        return Sums(*narrow, self.vectors.take(places, axis=0))

    def put(self, places: IntArray, sums: "Sums") -> None:
        """Write sums at some positions."""
        self.shifts[places], self.units[places], self.masses[places], self.vectors[places] = sums

    def means(self) -> Nodes:
        """Divide by the weights and quantize to int8."""
        masses = np.ldexp(self.masses.astype(np.float64), -_MASS_BITS)
        factors = np.ldexp(1.0, self.shifts - np.int32(_UNIT_BITS)) / masses
        vectors = self.vectors.astype(np.float32)
        vectors *= factors.astype(np.float32)[:, None]
        return Nodes(*quantize_rows(vectors, precision=np.float32), masses.astype(np.float32))


def sum_members(members: Nodes, firsts: Int64Array, lengths: Int64Array) -> Sums:
    """Sum members.

    Args:
        members: Members, sum after sum.
        firsts: Position of the first member of each sum.
            Shape: (n,).
        lengths: Number of members of each sum, ascending.
            Shape: (n,).

    Returns:
        The sums.
    """
    units, masses = _to_fixed_point(members)
    total = np.add.reduceat(units, firsts)
    shifts = _shifts(total, lengths)
    steps = _round_to_grid(units, np.repeat(shifts, lengths))
    split = int(np.searchsorted(lengths, _FEW, side="right"))
    end = int(firsts[split]) if split < firsts.size else steps.size
    vectors = np.empty((lengths.size, members.vectors.shape[1]), dtype=np.int32)
    vectors[:split] = _weighted_sums(members.vectors[:end], steps[:end].astype(np.float32), lengths[:split])
    vectors[split:] = _weighted_sums(members.vectors[end:], steps[end:], lengths[split:])
    return Sums(shifts, total, np.add.reduceat(masses, firsts), vectors)


def update_sums(
    sums: Sums, lengths: IntArray, members: Nodes, signs: Int64Array, owners: Int64Array
) -> tuple[Sums, Int64Array]:
    """Add members to sums, or subtract them.

    Args:
        sums: The sums before; modified in place.
        lengths: Number of members of each sum afterwards.
            Shape: (n,).
        members: Added and removed members.
        signs: 1 for added, -1 for removed members.
            Shape: (q,).
        owners: Sum that each member belongs to; -1 for none.
            Shape: (q,).

    Returns:
        The sums afterwards, and the indices of the valid ones: those whose grid has not changed.
        Shape of the second: (any,).
    """
    counts = np.bincount(owners + 1, minlength=lengths.size + 1)
    offsets, counts = np.cumsum(counts), counts[1:]
    touched = np.flatnonzero(counts)
    touched = touched[np.argsort(counts[touched], kind="stable")]
    places, _ = ranges(offsets, touched)
    places = np.argsort(owners, kind="stable")[places]
    members, signs, owners = members.take(places), signs[places], owners[places]
    units, masses = _to_fixed_point(members)
    np.add.at(sums.units, owners, signs * units)
    np.add.at(sums.masses, owners, signs * masses)
    steps = _round_to_grid(units, sums.shifts[owners]) * signs.astype(np.int32)
    sums.vectors[touched] += _weighted_sums(members.vectors, steps, counts[touched])
    return sums, np.flatnonzero(_shifts(sums.units, lengths) == sums.shifts)


def sum_masses(masses: Float32Array, picks: IntArray, offsets: IntArray) -> Float32Array:
    """Sum masses over ranges.

    Args:
        masses: Masses to sum.
            Shape: (any,).
        picks: Indices into the masses, range after range.
            Shape: (k,).
        offsets: Offsets of the ranges in `picks`, none of them empty.
            Shape: (n + 1,).

    Returns:
        One sum per range.
        Shape: (n,).
    """
    if offsets.size <= 1:
        return np.empty(0, dtype=np.float32)
    sums: Float32Array = np.add.reduceat(masses[picks], offsets[:-1])
    return sums


def _weighted_sums(vectors: Int8Array, weights: Weights, lengths: IntArray) -> Weights:
    """Sum weighted rows over consecutive ranges, shortest range first.

    `np.add.reduceat` is ten times slower on rows of 128. `einsum` widens the int8 components some thousand at a time,
    in a core's first-level cache.

    Args:
        vectors: Rows, range after range.
            Shape: (k, d).
        weights: Weights of the rows; the sums have their type.
            Shape: (k,).
        lengths: Lengths of the ranges, ascending.
            Shape: (n,).

    Returns:
        One sum per range.
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


def _to_fixed_point(members: Nodes) -> tuple[Int64Array, Int64Array]:
    """Convert weight times scale, and weight, to fixed point. Shape: (q,) and (q,)."""
    most = np.float32(_MOST_UNITS) / np.maximum(members.scales, np.float32(_MOST_UNITS / _MOST_MASS))
    masses = np.minimum(members.masses, most)
    units = masses * members.scales
    # Multiplying by a power of two rounds nothing; the smallest weight is one, since sums are divided by their weight.
    masses = np.maximum(np.rint(masses * np.float32(2**_MASS_BITS)), np.float32(1))
    return np.rint(units * np.float32(2**_UNIT_BITS)).astype(np.int64), masses.astype(np.int64)


def _shifts(units: Int64Array, lengths: IntArray) -> npt.NDArray[np.int8]:
    """Find the finest grid of each sum on which all weights together fit the allowed bits. Shape: (n,)."""
    _, bits = np.frexp(units.astype(np.float64))
    allowed = np.where(lengths <= _FEW, _FEW_STEP_BITS, _STEP_BITS)
    shifts: npt.NDArray[np.int8] = np.maximum(bits - allowed, 0).astype(np.int8)
    return shifts


def _round_to_grid(units: Int64Array, shifts: npt.NDArray[np.int8]) -> Int32Array:
    """Round to steps of a grid, halves up."""
    wide = shifts.astype(np.int64)
    return ((units + ((1 << wide) >> 1)) >> wide).astype(np.int32)
