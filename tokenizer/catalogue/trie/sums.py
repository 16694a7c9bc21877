"""Sums of weighted int8 vectors in whole numbers, which are the same whoever is added when.

A sum of floats depends on the order of its members. Here every member enters a sum as whole numbers that depend on the
member, and on the sum's grid, alone; the grid follows from the number of members and the sum of their weights.

Shape legend: n = sums, q = members, d = dimensions of a vector.
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.int8 import quantize_rows
from sidestream.tokenizer.catalogue.trie.nodes import Nodes, ranges, weighted_sums

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]

# Binary places behind the point, and the most that a member, item or node, can weigh: what is above is cut, and half a
# million of those sum up in 63 bits. Weights of items lie far within (`check_vectors`); weight times scale is exact to
# a hundredth from 1e-5 on, while scales of trained item vectors are some 3e-3.
_MASS_BITS, _MOST_MASS = 20, 2.0**24
_UNIT_BITS, _MOST_UNITS = 22, 2.0**22
# A sum's grid leaves so many bits to all weights together; times 127, and half a step a member, 24 bits suffice for a
# few members, which floats hold exactly, and 31 for many. One of 256 equal members is rounded by two thousandths of its
# weight at most, one of 65,536 by less than a hundredth; a mean is rounded by half a hundredth when it becomes int8.
_FEW, _FEW_STEP_BITS, _STEP_BITS = 256, 17, 23


class Sums(NamedTuple):
    """Sums over the members of some nodes.

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
    def room(cls, size: int, dim: int) -> Self:
        """Make room for sums; what it holds is undefined."""
        units, masses = np.empty((2, size), dtype=np.int64)
        return cls(np.empty(size, dtype=np.int8), units, masses, np.empty((size, dim), dtype=np.int32))

    def take(self, places: IntArray) -> "Sums":
        """Copy some of them."""
        narrow = (self.shifts.take(places), self.units.take(places), self.masses.take(places))
        return Sums(*narrow, self.vectors.take(places, axis=0))

    def put(self, places: IntArray, sums: "Sums") -> None:
        """Write some of them."""
        self.shifts[places], self.units[places], self.masses[places], self.vectors[places] = sums

    def means(self) -> Nodes:
        """Divide by the weights, and round to int8."""
        masses = np.ldexp(self.masses.astype(np.float64), -_MASS_BITS)
        factors = np.ldexp(1.0, self.shifts - np.int32(_UNIT_BITS)) / masses
        vectors = self.vectors.astype(np.float32)
        vectors *= factors.astype(np.float32)[:, None]
        return Nodes(*quantize_rows(vectors, precision=np.float32), masses.astype(np.float32))


def summed(members: Nodes, firsts: Int64Array, lengths: Int64Array) -> Sums:
    """Add up members.

    Args:
        members: What is summed, sum after sum.
        firsts: Where the members of each sum begin.
            Shape: (n,).
        lengths: How many each has, ascending.
            Shape: (n,).

    Returns:
        The sums.
    """
    units, masses = _weighed(members)
    total = np.add.reduceat(units, firsts)
    shifts = _shifts(total, lengths)
    steps = _on_grid(units, np.repeat(shifts, lengths))
    split = int(np.searchsorted(lengths, _FEW, side="right"))
    end = int(firsts[split]) if split < firsts.size else steps.size
    vectors = np.empty((lengths.size, members.vectors.shape[1]), dtype=np.int32)
    vectors[:split] = weighted_sums(members.vectors[:end], steps[:end].astype(np.float32), lengths[:split])
    vectors[split:] = weighted_sums(members.vectors[end:], steps[end:], lengths[split:])
    return Sums(shifts, total, np.add.reduceat(masses, firsts), vectors)


def moved(
    sums: Sums, lengths: IntArray, members: Nodes, signs: Int64Array, owners: Int64Array
) -> tuple[Sums, Int64Array]:
    """Add members to sums, or take them away.

    Args:
        sums: The sums before; they are changed.
        lengths: How many members each has afterwards.
            Shape: (n,).
        members: Those that came or went.
        signs: 1 for those that came, -1 for those that went.
            Shape: (q,).
        owners: Which of the sums; -1 for none of them.
            Shape: (q,).

    Returns:
        The sums afterwards, and which of them are right: those on the grid on which they were.
        Shape of the second: (any,).
    """
    counts = np.bincount(owners + 1, minlength=lengths.size + 1)
    offsets, counts = np.cumsum(counts), counts[1:]
    touched = np.flatnonzero(counts)
    touched = touched[np.argsort(counts[touched], kind="stable")]
    places, _ = ranges(offsets, touched)
    places = np.argsort(owners, kind="stable")[places]
    members, signs, owners = members.take(places), signs[places], owners[places]
    units, masses = _weighed(members)
    np.add.at(sums.units, owners, signs * units)
    np.add.at(sums.masses, owners, signs * masses)
    steps = _on_grid(units, sums.shifts[owners]) * signs.astype(np.int32)
    sums.vectors[touched] += weighted_sums(members.vectors, steps, counts[touched])
    return sums, np.flatnonzero(_shifts(sums.units, lengths) == sums.shifts)


def _weighed(members: Nodes) -> tuple[Int64Array, Int64Array]:
    """Turn weight times scale, and weight, into whole numbers. Shape: (q,) and (q,)."""
    most = np.float32(_MOST_UNITS) / np.maximum(members.scales, np.float32(_MOST_UNITS / _MOST_MASS))
    masses = np.minimum(members.masses, most)
    units = masses * members.scales
    # Powers of two round nothing; the least weight is one, since a node is divided by the weight below it.
    masses = np.maximum(np.rint(masses * np.float32(2**_MASS_BITS)), np.float32(1))
    return np.rint(units * np.float32(2**_UNIT_BITS)).astype(np.int64), masses.astype(np.int64)


def _shifts(units: Int64Array, lengths: IntArray) -> npt.NDArray[np.int8]:
    """Find the grids of sums: the finest on which all weights together fit the bits allowed. Shape: (n,)."""
    _, bits = np.frexp(units.astype(np.float64))
    room = np.where(lengths <= _FEW, _FEW_STEP_BITS, _STEP_BITS)
    shifts: npt.NDArray[np.int8] = np.maximum(bits - room, 0).astype(np.int8)
    return shifts


def _on_grid(units: Int64Array, shifts: npt.NDArray[np.int8]) -> Int32Array:
    """Round to steps of a grid, halves up."""
    wide = shifts.astype(np.int64)
    return ((units + ((1 << wide) >> 1)) >> wide).astype(np.int32)
