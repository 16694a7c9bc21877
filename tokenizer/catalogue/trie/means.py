"""Mean vectors of trie nodes, computed from all members or updated from sums kept at the previous merge.

SIDs and the prefixes right above them have the means of their items; nodes further up are means of their child nodes,
so each level adds at most half an int8 step of rounding.

Most members of a node are the same after a merge, and reading all of them again would cost more than the rest of the
merge. So the sums of the nodes with the most members are kept, and a merge adds new members and subtracts removed ones.
Which sums are kept does not affect the means (see `sums`), only the cost.

Shape legend: n = nodes, k = picks, q = changed members, d = dimensions of a vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.search import find
from sidestream.tokenizer.catalogue.trie.csr import Splice, ranges, ranks
from sidestream.tokenizer.catalogue.trie.sums import Nodes, Sums, sum_members, update_sums

Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]

# At most one sum is kept for every eighty members: 6.7 bytes a member for d = 128, and 13 MB a level.
_MEMBERS_PER_SUM = 80
_MAX_SUMS = 24_576
# With fewer members, reading them again is as fast as reading their sum.
_MIN_MEMBERS = 16
# Vectors gathered at a time: 1 MB for d = 128, which stays in a core's cache.
_PICKS_PER_CHUNK = 8_192


@dataclass(frozen=True, eq=False, slots=True)
class KeptSums:
    """Sums of one level that a merge continues from.

    Attributes:
        nodes: Nodes with a sum, ascending. Shape: (n,).
        sums: Sums of these nodes.
    """

    nodes: Int64Array
    sums: Sums

    @property
    def nbytes(self) -> int:
        """Return the memory in use."""
        return self.nodes.nbytes + sum(column.nbytes for column in self.sums)


class Changed(NamedTuple):
    """Members removed from or added below nodes.

    Attributes:
        members: The members.
        signs: -1 for removed, 1 for added members. Shape: (q,).
        owners: Index of the node that each member belongs to; -1 for a node that no longer exists. Shape: (q,).
    """

    members: Nodes
    signs: Int64Array
    owners: Int64Array


def means(source: Nodes, picks: IntArray, offsets: IntArray, parents: Int64Array) -> Nodes:
    """Compute weighted means of some ranges.

    Args:
        source: Items or nodes to average.
        picks: Indices into the source, range after range.
            Shape: (k,).
        offsets: Offsets of the ranges in `picks`.
            Shape: (number of ranges + 1,).
        parents: Ranges to average, none of them empty.
            Shape: (n,).

    Returns:
        One node per parent; a range with a single member has that member's vector, without further rounding.
    """
    return _sum_ranges(source, picks, offsets, parents, min_members=1 + picks.size)[0]


def build_means(source: Nodes, picks: IntArray, offsets: IntArray) -> tuple[Nodes, KeptSums]:
    """Compute weighted means of all ranges.

    Args:
        source: Items or nodes to average.
        picks: Indices into the source, range after range.
            Shape: (k,).
        offsets: Offsets of the ranges in `picks`, none of them empty.
            Shape: (n + 1,).

    Returns:
        One node per range, as `means` returns it; and the sums to keep.
    """
    parents = np.arange(offsets.size - 1)
    nodes, sums, kept = _sum_ranges(source, picks, offsets, parents, _min_members_kept(offsets))
    return nodes, KeptSums(parents[kept], sums)


def merge_means(
    source: Nodes,
    picks: IntArray,
    offsets: IntArray,
    before: KeptSums,
    splice: Splice,
    old: Int64Array,
    changed: Changed,
) -> tuple[Nodes, KeptSums]:
    """Compute weighted means of the ranges that a merge touched.

    Args:
        source: Items or nodes to average.
        picks: Indices into the source after the merge, range after range.
            Shape: (k,).
        offsets: Offsets of the ranges in `picks`, none of them empty.
            Shape: (number of ranges + 1,).
        before: Sums kept before the merge.
        splice: Merge of the ranges; its fresh entries are the touched ranges.
        old: Range before the merge of each touched one, -1 for a new range.
            Shape: (n,).
        changed: Members removed from or added to the touched ranges.

    Returns:
        One node per touched range, as `means` returns it; and the sums to keep.
    """
    fresh, min_members = splice.fresh, _min_members_kept(offsets)
    slots = find(before.nodes, old)
    # A range with one member is that member, not a mean.
    lengths = offsets[fresh + 1] - offsets[fresh]
    known = np.flatnonzero((slots >= 0) & (lengths > 1))
    owners = ranks(known, fresh.size)[changed.owners]
    after, right = update_sums(before.sums.take(slots[known]), lengths[known], changed.members, changed.signs, owners)
    known, after = known[right], after.take(right)
    others = np.delete(np.arange(fresh.size), known)
    added, sums, kept = _sum_ranges(source, picks, offsets, fresh[others], min_members)
    nodes = Nodes.empty(fresh.size, source.vectors.shape[1])
    nodes.put(known, after.means())
    nodes.put(others, added)
    untouched = np.flatnonzero(find(splice.dropped, before.nodes) < 0)
    parts = [
        (splice.new_places(before.nodes[untouched]), before.sums, untouched),
        (fresh[known], after, np.arange(known.size)),
        (fresh[others[kept]], sums, np.arange(kept.size)),
    ]
    return nodes, _gather_sums(parts, offsets, min_members)


def _sum_ranges(
    source: Nodes, picks: IntArray, offsets: IntArray, parents: Int64Array, min_members: int
) -> tuple[Nodes, Sums, Int64Array]:
    """Sum ranges from scratch; also return the sums of ranges with at least `min_members`, and their indices."""
    lengths = (offsets[parents + 1] - offsets[parents]).astype(np.int64)
    dim = source.vectors.shape[1]
    nodes = Nodes.empty(lengths.size, dim)
    alone = np.flatnonzero(lengths == 1)
    nodes.put(alone, source.take(picks[offsets[parents[alone]]]))
    kept = np.flatnonzero(lengths >= min_members)
    slots = np.cumsum(lengths >= min_members) - 1
    sums = Sums.empty(kept.size, dim)
    many = np.flatnonzero(lengths > 1)
    many = many[np.argsort(lengths[many], kind="stable")]
    for some in _chunks(many, lengths[many]):
        places, firsts = ranges(offsets, parents[some])
        members = source.take(picks.take(places).astype(np.intp, copy=False))
        here = sum_members(members, firsts, lengths[some])
        nodes.put(some, here.means())
        heavy = np.flatnonzero(lengths[some] >= min_members)
        sums.put(slots[some[heavy]], here.take(heavy))
    return nodes, sums, kept


def _min_members_kept(offsets: IntArray) -> int:
    """Return the number of members from which a node's sum is kept, so that no more than the allowed number are."""
    counts = np.diff(offsets)
    max_sums = min(int(counts.sum()) // _MEMBERS_PER_SUM, _MAX_SUMS)
    if max_sums >= counts.size:
        return _MIN_MEMBERS
    return max(_MIN_MEMBERS, 1 + int(np.partition(counts, counts.size - max_sums - 1)[counts.size - max_sums - 1]))


def _gather_sums(parts: list[tuple[Int64Array, Sums, Int64Array]], offsets: IntArray, min_members: int) -> KeptSums:
    """Combine sums of several parts (nodes, sums, index of each node's sum), except for nodes with too few members."""
    fits = [np.flatnonzero(offsets[nodes + 1] - offsets[nodes] >= min_members) for nodes, _, _ in parts]
    nodes = np.concatenate([part[0][some] for part, some in zip(parts, fits, strict=True)])
    order = np.argsort(nodes)
    slots = ranks(order, nodes.size)
    sums = Sums.empty(nodes.size, parts[0][1].vectors.shape[1])
    begin = 0
    for (_, theirs, places), some in zip(parts, fits, strict=True):
        sums.put(slots[begin : begin + some.size], theirs.take(places[some]))
        begin += some.size
    return KeptSums(nodes[order], sums)


def _chunks(nodes: Int64Array, lengths: IntArray) -> Iterator[Int64Array]:
    """Split nodes into chunks with a bounded number of picks in all, except for a single node that has more."""
    ends = np.cumsum(lengths, dtype=np.int64)
    begin = done = 0
    while begin < nodes.size:
        end = max(begin + 1, int(np.searchsorted(ends, done + _PICKS_PER_CHUNK, side="right")))
        yield nodes[begin:end]
        begin, done = end, int(ends[end - 1])
