"""The means of what lies below the nodes of the trie, taken anew or from the sums that a merge finds kept.

SIDs and the prefixes right above them have the means of their items; nodes further up are means of the nodes below
them, so each level adds at most half an int8 step of rounding.

Most of the members of a node are the same after a merge, and reading all of them again would cost more than the rest of
it. So the sums of the nodes with the most members are kept, and a merge adds what came and takes away what went. Whose
sums are kept makes no difference to a mean (see `sums`): it is a question of cost.

Shape legend: n = nodes, k = picks, q = changed members, d = dimensions of a vector.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.lookup import find
from sidestream.tokenizer.catalogue.trie.nodes import Nodes, chunks, ranges, ranks
from sidestream.tokenizer.catalogue.trie.splice import Splice
from sidestream.tokenizer.catalogue.trie.sums import Sums, moved, summed

Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]

# One sum is kept for eighty members at most: 6.7 bytes a member for d = 128, and 13 MB a level.
_MEMBERS_PER_SUM = 80
_MAX_SUMS = 24_576
# Fewer members are as fast to read again as their sum.
_MIN_MEMBERS = 16


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
    slots = find(before.nodes, old)
    # A range of one is its only member, not a mean.
    lengths = offsets[fresh + 1] - offsets[fresh]
    known = np.flatnonzero((slots >= 0) & (lengths > 1))
    owners = ranks(known, fresh.size)[changed.owners]
    after, right = moved(before.sums.take(slots[known]), lengths[known], changed.members, changed.signs, owners)
    known, after = known[right], after.take(right)
    others = np.delete(np.arange(fresh.size), known)
    added, sums, kept = _added_up(source, picks, offsets, fresh[others], least)
    nodes = Nodes.room(fresh.size, source.vectors.shape[1])
    nodes.put(known, after.means())
    nodes.put(others, added)
    untouched = np.flatnonzero(find(splice.dropped, before.nodes) < 0)
    parts = [
        (splice.moved(before.nodes[untouched]), before.sums, untouched),
        (fresh[known], after, np.arange(known.size)),
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
        here = summed(members, firsts, lengths[some])
        nodes.put(some, here.means())
        heavy = np.flatnonzero(lengths[some] >= least)
        sums.put(slots[some[heavy]], here.take(heavy))
    return nodes, sums, kept


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
    order = np.argsort(nodes)
    standing = ranks(order, nodes.size)
    sums = Sums.room(nodes.size, parts[0][1].vectors.shape[1])
    begin = 0
    for (_, theirs, places), some in zip(parts, fits, strict=True):
        sums.put(standing[begin : begin + some.size], theirs.take(places[some]))
        begin += some.size
    return KeptSums(nodes[order], sums)
