"""Owns the means of what lies below a node, and the sums in whole numbers that they come from.

SIDs and the prefixes right above them have the means of their items; nodes further up are means of the nodes below
them, so each level adds at most half an int8 step of rounding.

A sum of floats depends on their order, so a merge would have to read all members of a node again to get what a build
gets. Here every member enters a sum as whole numbers that depend on the member, and on the sum's grid, alone; the grid
follows from the sum of the weights. So it makes no difference who was added when, nor for which nodes sums are kept for
the next merge to add what came and to take away what went: that is a question of cost. Kept are those of the nodes with
the most members, which take longest to add up anew.

Shape legend: n = nodes, k = picks, q = changed members, d = dimensions of a vector.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from tokenizer.catalogue.nodes import Nodes, chunks, quantize, ranges, weighted_sums
from tokenizer.catalogue.splice import Splice

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]

# Binary places behind the point, and what counts as the most: half a million members of that weight sum up in 63 bits.
_MASS_BITS, _MOST_MASS = 16, 2.0**26
_UNIT_BITS, _MOST_UNITS = 28, 2.0**16
# A sum's grid leaves so many bits to all weights together; times 127, and half a step a member, 24 bits suffice for a
# few members, which floats hold exactly, and 31 for many. One of 256 members is rounded by a thousandth of its weight,
# one of 65,536 by half a hundredth: no more than a mean is when it is rounded to int8.
_FEW, _FEW_STEP_BITS, _STEP_BITS = 256, 17, 23
# Kept for one node eighty members at most, 6.7 bytes a member for d = 128, and 13 MB a level in all.
_MEMBERS_PER_SUM = 80
_MAX_SUMS = 24_576
# Fewer members are as fast to read again as their sum.
_MIN_MEMBERS = 16


class Sums(NamedTuple):
    """Sums over the members of some nodes.

    Attributes:
        shifts: A step of the vectors' grid is 2^shift units. Shape: (n,).
        units: Weight times scale, in 2^-28. Shape: (n,).
        masses: Weights, in 2^-16. Shape: (n,).
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
        return Nodes(*quantize(vectors), masses.astype(np.float32))


@dataclass(frozen=True, eq=False, slots=True)
class KeptSums:
    """The sums of one level that a merge goes on from.

    Attributes:
        nodes: Which nodes, ascending. Shape: (n,).
        sums: Theirs.
    """

    nodes: Int64Array
    sums: Sums

    @property
    def nbytes(self) -> int:
        """Return the memory that they take."""
        return self.nodes.nbytes + sum(column.nbytes for column in self.sums)


class Changed(NamedTuple):
    """What went from below some nodes, or came there.

    Attributes:
        members: What they were, or are.
        signs: -1 for those that went, 1 for those that came. Shape: (q,).
        owners: Which of the nodes; -1 for one that is gone. Shape: (q,).
    """

    members: Nodes
    signs: Int64Array
    owners: Int64Array


def means(source: Nodes, picks: IntArray, offsets: IntArray, parents: Int64Array) -> Nodes:
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
    return _added_up(source, picks, offsets, parents, least=1 + picks.size)[0]


def built_means(source: Nodes, picks: IntArray, offsets: IntArray) -> tuple[Nodes, KeptSums]:
    """Take weighted means over all ranges.

    Args:
        source: What the means are of.
        picks: Places in the source, range after range.
            Shape: (k,).
        offsets: Where the ranges of picks begin and end, none of them empty.
            Shape: (n + 1,).

    Returns:
        One node a range, as `means` gives it; and the sums to keep.
    """
    parents = np.arange(offsets.size - 1)
    nodes, sums, kept = _added_up(source, picks, offsets, parents, _least_kept(offsets))
    return nodes, KeptSums(parents[kept], sums)


def merged_means(
    source: Nodes,
    picks: IntArray,
    offsets: IntArray,
    before: KeptSums,
    splice: Splice,
    old: Int64Array,
    changed: Changed,
) -> tuple[Nodes, KeptSums]:
    """Take weighted means over the ranges that a merge touched.

    Args:
        source: What the means are of.
        picks: Places in the source after the merge, range after range.
            Shape: (k,).
        offsets: Where the ranges of picks begin and end, none of them empty.
            Shape: (number of ranges + 1,).
        before: Sums kept before the merge.
        splice: How the ranges came about; its fresh ones are those touched.
        old: Which range before the merge each touched one was, -1 for a new one.
            Shape: (n,).
        changed: What went from the touched ranges, or came there.

    Returns:
        One node a touched range, as `means` gives it; and the sums to keep.
    """
    fresh, least = splice.fresh, _least_kept(offsets)
    slots = _find(before.nodes, old)
    # A range of one is its only member, not a mean.
    lengths = offsets[fresh + 1] - offsets[fresh]
    known = np.flatnonzero((slots >= 0) & (lengths > 1))
    moved, stays = _moved(before.sums.take(slots[known]), known, lengths, changed)
    known, moved = known[stays], moved.take(stays)
    others = np.delete(np.arange(fresh.size), known)
    added, sums, kept = _added_up(source, picks, offsets, fresh[others], least)
    nodes = Nodes.room(fresh.size, source.vectors.shape[1])
    nodes.put(known, moved.means())
    nodes.put(others, added)
    untouched = np.flatnonzero(_find(splice.dropped, before.nodes) < 0)
    parts = [
        (splice.moved(before.nodes[untouched]), before.sums, untouched),
        (fresh[known], moved, np.arange(known.size)),
        (fresh[others[kept]], sums, np.arange(kept.size)),
    ]
    return nodes, _gathered(parts, offsets, least)


def _added_up(
    source: Nodes, picks: IntArray, offsets: IntArray, parents: Int64Array, least: int
) -> tuple[Nodes, Sums, Int64Array]:
    """Add ranges up anew; also the sums of those with at least so many members, and which those are."""
    lengths = (offsets[parents + 1] - offsets[parents]).astype(np.int64)
    dim = source.vectors.shape[1]
    nodes = Nodes.room(lengths.size, dim)
    alone = np.flatnonzero(lengths == 1)
    nodes.put(alone, source.take(picks[offsets[parents[alone]]]))
    kept = np.flatnonzero(lengths >= least)
    slots = np.cumsum(lengths >= least) - 1
    sums = Sums.room(kept.size, dim)
    many = np.flatnonzero(lengths > 1)
    many = many[np.argsort(lengths[many], kind="stable")]
    for some in chunks(many, lengths[many]):
        places, firsts = ranges(offsets, parents[some])
        members = source.take(picks.take(places).astype(np.intp, copy=False))
        here = _summed(members, firsts, lengths[some])
        nodes.put(some, here.means())
        heavy = np.flatnonzero(lengths[some] >= least)
        sums.put(slots[some[heavy]], here.take(heavy))
    return nodes, sums, kept


def _summed(members: Nodes, firsts: Int64Array, lengths: Int64Array) -> Sums:
    """Add up members, range after range, the shortest first."""
    units, masses = _weighed(members)
    total = np.add.reduceat(units, firsts)
    shifts = _shifts(total, lengths)
    steps = _on_grid(units, np.repeat(shifts, lengths))
    split = int(np.searchsorted(lengths, _FEW, side="right"))
    end = int(firsts[split]) if split < firsts.size else steps.size
    few = weighted_sums(members.vectors[:end], steps[:end].astype(np.float32), lengths[:split])
    vectors = np.empty((lengths.size, members.vectors.shape[1]), dtype=np.int32)
    vectors[:split] = few
    vectors[split:] = weighted_sums(members.vectors[end:], steps[end:], lengths[split:])
    return Sums(shifts, total, np.add.reduceat(masses, firsts), vectors)


def _moved(sums: Sums, known: Int64Array, lengths: IntArray, changed: Changed) -> tuple[Sums, Int64Array]:
    """Add and take away what changed below known nodes, in place; also which of them have the grid that they had."""
    slots = np.full(lengths.size + 1, -1, dtype=np.int64)  # the last one is of nodes that are gone
    slots[known] = np.arange(known.size)
    counts = np.bincount(slots[changed.owners] + 1, minlength=known.size + 1)
    offsets = np.cumsum(counts)
    order = np.argsort(slots[changed.owners], kind="stable")
    touched = np.flatnonzero(counts[1:])
    touched = touched[np.argsort(counts[1:][touched], kind="stable")]
    places, _ = ranges(offsets, touched)
    places, owners = order[places], np.repeat(touched, counts[1:][touched])
    members, signs = changed.members.take(places), changed.signs[places]
    units, masses = _weighed(members)
    np.add.at(sums.units, owners, signs * units)
    np.add.at(sums.masses, owners, signs * masses)
    steps = _on_grid(units, sums.shifts[owners]) * signs.astype(np.int32)
    sums.vectors[touched] += weighted_sums(members.vectors, steps, counts[1:][touched])
    return sums, np.flatnonzero(_shifts(sums.units, lengths[known]) == sums.shifts)


def _weighed(members: Nodes) -> tuple[Int64Array, Int64Array]:
    """Turn weight times scale, and weight, into whole numbers. Shape: (q,) and (q,)."""
    units = np.minimum(members.masses * members.scales, np.float32(_MOST_UNITS))
    masses = np.minimum(members.masses, np.float32(_MOST_MASS))
    # Powers of two round nothing; a weight is above zero, and stays so.
    masses = np.maximum(np.rint(masses * np.float32(2**_MASS_BITS)), np.float32(1))
    return np.rint(units * np.float32(2**_UNIT_BITS)).astype(np.int64), masses.astype(np.int64)


def _shifts(units: Int64Array, lengths: IntArray) -> npt.NDArray[np.int8]:
    """Find the grids of sums: the finest on which all weights together take the bits that there are. Shape: (n,)."""
    _, bits = np.frexp(units.astype(np.float64))
    room = np.where(lengths <= _FEW, _FEW_STEP_BITS, _STEP_BITS)
    shifts: npt.NDArray[np.int8] = np.maximum(bits - room, 0).astype(np.int8)
    return shifts


def _on_grid(units: Int64Array, shifts: npt.NDArray[np.int8]) -> Int32Array:
    """Round to steps of a grid, halves up."""
    wide = shifts.astype(np.int64)
    return ((units + ((1 << wide) >> 1)) >> wide).astype(np.int32)


def _least_kept(offsets: IntArray) -> int:
    """Tell from how many members on a node has its sum kept, so that no more are kept than there is room for."""
    counts = np.diff(offsets)
    room = min(int(counts.sum()) // _MEMBERS_PER_SUM, _MAX_SUMS)
    if room >= counts.size:
        return _MIN_MEMBERS
    return max(_MIN_MEMBERS, 1 + int(np.partition(counts, counts.size - room - 1)[counts.size - room - 1]))


def _gathered(parts: list[tuple[Int64Array, Sums, Int64Array]], offsets: IntArray, least: int) -> KeptSums:
    """Put sums together, each part's nodes with their places among given sums, but for nodes with too few members."""
    fits = [np.flatnonzero(offsets[nodes + 1] - offsets[nodes] >= least) for nodes, _, _ in parts]
    nodes = np.concatenate([part[0][some] for part, some in zip(parts, fits, strict=True)])
    ranks = np.empty(nodes.size, dtype=np.int64)
    order = np.argsort(nodes)
    ranks[order] = np.arange(nodes.size)
    sums = Sums.room(nodes.size, parts[0][1].vectors.shape[1])
    begin = 0
    for (_, theirs, places), some in zip(parts, fits, strict=True):
        sums.put(ranks[begin : begin + some.size], theirs.take(places[some]))
        begin += some.size
    return KeptSums(nodes[order], sums)


def _find(values: Int64Array, wanted: Int64Array) -> Int64Array:
    """Find numbers in ascending ones; -1 where they are not."""
    places = np.searchsorted(values, wanted)
    found = np.full(wanted.size, -1, dtype=np.int64)
    inside = np.flatnonzero(places < values.size)
    hits = inside[values[places[inside]] == wanted[inside]]
    found[hits] = places[hits]
    return found
