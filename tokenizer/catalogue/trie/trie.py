"""The trie of SIDs as CSR arrays: the codes that follow each prefix, and the items of each SID.

Nodes of a level are numbered in the order of (parent, code); a node of the last level is a SID and its number is also
the number of its bucket. `level_offsets[l][p]:level_offsets[l][p + 1]` are the children of node p of the level above;
level 0 has a single parent, the root.

Source: Su et al., "Vectorizing the Trie" (STATIC), arXiv 2602.22647, section 4, for the trie as flat CSR arrays.

Shape legend: m = items in buckets, n_l = nodes of level l, L = levels, d = dimensions of an item vector.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.rows import Rows, RowStore
from sidestream.tokenizer.catalogue.trie.means import KeptSums, build_means, means
from sidestream.tokenizer.catalogue.trie.sums import Nodes, sum_masses

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

Arrays = tuple[npt.NDArray[Any], ...]

_MAX_PACKED = 2**64


@dataclass(frozen=True, eq=False, slots=True)
class Trie:
    """The arrays of one trie.

    Attributes:
        level_codes: Code of each node. Shape: L x (n_l,).
        level_offsets: Offsets of the children. Shape: L x (n_{l-1} + 1,), with n_{-1} = 1.
        bucket_offsets: Offsets of the items of the SIDs. Shape: (n_{L-1} + 1,).
        bucket_rows: Rows of the items, best first within a bucket. Shape: (m,).
        node_vectors: Weighted mean of the vectors below each node, int8; for all levels but the last, like scales and
            masses. Shape: (L - 1) x (n_l, d).
        node_scales: Component = int8 * scale. Shape: (L - 1) x (n_l,).
        node_masses: Sum of the weights below a node. Shape: (L - 1) x (n_l,).
        leaf_rows: Index of each SID's mean in the store's table: the row of its only item, or a negative index from the
            end of the table. Shape: (n_{L-1},).
        node_log_mass: Logarithm of the sum of the weights below a node. Shape: L x (n_l,).
    """

    level_codes: tuple[Int32Array, ...]
    level_offsets: tuple[Int32Array, ...]
    bucket_offsets: Int32Array
    bucket_rows: Int32Array
    node_vectors: tuple[Int8Array, ...]
    node_scales: tuple[Float32Array, ...]
    node_masses: tuple[Float32Array, ...]
    leaf_rows: Int32Array
    node_log_mass: tuple[Float32Array, ...]

    @property
    def num_levels(self) -> int:
        """Return L."""
        return len(self.level_codes)

    def below(self, level: int) -> Int32Array:
        """Return the offsets of each node's children: nodes of the next level, or items. Shape: (n_level + 1,)."""
        return self.bucket_offsets if level == self.num_levels - 1 else self.level_offsets[level + 1]

    def num_bytes(self) -> dict[str, int]:
        """Return the memory of the vectors and masses of inner nodes, and of everything else."""
        buckets: Arrays = (self.bucket_offsets, self.bucket_rows, self.leaf_rows)
        rest: Arrays = (*self.level_codes, *self.level_offsets, *self.node_log_mass, *buckets)
        nodes: Arrays = (*self.node_vectors, *self.node_scales, *self.node_masses)
        return {"inner_nodes": sum(array.nbytes for array in nodes), "trie": sum(array.nbytes for array in rest)}

    def nodes(self, level: int) -> Nodes:
        """Return the weighted vectors of a level other than the last."""
        return Nodes(self.node_vectors[level], self.node_scales[level], self.node_masses[level])


def build_trie(
    store: RowStore, members: Int32Array, codebook_sizes: tuple[int, ...]
) -> tuple[Trie, tuple[KeptSums, ...]]:
    """Build the trie over some rows.

    Args:
        store: The store; means of SIDs shared by several items are appended to it.
        members: Rows to put into buckets.
            Shape: (m,).
        codebook_sizes: Codes per level, greater than every code used.

    Returns:
        The trie, and the sums that a merge can continue from, by inner level; equal inputs give equal arrays,
        regardless of the order of `members`.
    """
    rows = store.rows()
    ordered = members[_bucket_order(rows, members, codebook_sizes)]
    codes = rows.codes[ordered]
    starts = node_starts(codes)
    num_levels = len(codebook_sizes)
    level_codes = tuple(codes[starts[level], level].astype(np.int32) for level in range(num_levels))
    first_of_parent = (np.zeros(1, dtype=np.int64), *starts[:-1])
    level_offsets = tuple(
        np.append(np.searchsorted(starts[level], first_of_parent[level]), starts[level].size).astype(np.int32)
        for level in range(num_levels)
    )
    bucket_offsets = np.append(starts[-1], ordered.size).astype(np.int32)
    leaf_rows, masses = leaves_of(store, ordered, bucket_offsets)
    # From the level above the SIDs upwards; SIDs with one prefix are adjacent, and so are their items.
    means_up: list[tuple[Nodes, KeptSums]] = []
    for level in reversed(range(num_levels - 1)):
        if means_up:
            source, offsets = means_up[-1][0], level_offsets[level + 1]
            means_up.append(build_means(source, np.arange(offsets[-1]), offsets))
        else:
            means_up.append(build_means(items_of(rows), ordered, np.append(starts[level], ordered.size)))
    nodes = [node for node, _ in reversed(means_up)]
    trie = Trie(
        level_codes=level_codes,
        level_offsets=level_offsets,
        bucket_offsets=bucket_offsets,
        bucket_rows=ordered,
        node_vectors=tuple(node.vectors for node in nodes),
        node_scales=tuple(node.scales for node in nodes),
        node_masses=tuple(node.masses for node in nodes),
        leaf_rows=leaf_rows,
        node_log_mass=(*(np.log(node.masses) for node in nodes), np.log(masses)),
    )
    return trie, tuple(sums for _, sums in reversed(means_up))


def leaves_of(store: RowStore, picks: Int32Array, offsets: npt.NDArray[np.integer]) -> tuple[Int32Array, Float32Array]:
    """Provide a vector for each SID: that of its only item, or the mean of its items, appended to the store.

    Args:
        store: The store.
        picks: Rows of the items, bucket after bucket.
            Shape: (k,).
        offsets: Offsets of the buckets in `picks`, none of them empty.
            Shape: (n + 1,).

    Returns:
        Indices into the store's table, and the sums of the weights.
        Shape: (n,) and (n,).
    """
    items = items_of(store.rows())
    masses = sum_masses(items.masses, picks, offsets)
    leaf_rows: Int32Array = picks[offsets[:-1]]
    shared = np.flatnonzero(np.diff(offsets) > 1)
    found = means(items, picks, offsets, shared)
    leaf_rows[shared] = store.append_means(found.vectors, found.scales)
    return leaf_rows, masses


def items_of(rows: Rows) -> Nodes:
    """Return the items of a store as weighted vectors."""
    return Nodes(rows.vectors, rows.scales, rows.weights)


def find_leaves(trie: Trie, codes: Int32Array, codebook_sizes: tuple[int, ...]) -> Int32Array:
    """Find SIDs in a trie.

    Args:
        trie: The trie.
        codes: SIDs, with arbitrary codes.
            Shape: (n, L).
        codebook_sizes: Codes per level.

    Returns:
        Node of the last level, -1 where the SID is not in the trie.
        Shape: (n,).
    """
    node = np.zeros(len(codes), dtype=np.int64)
    alive = np.ones(len(codes), dtype=np.bool_)
    for level, size in enumerate(codebook_sizes):
        offsets, children, wanted = trie.level_offsets[level], trie.level_codes[level], codes[:, level]
        alive &= (wanted >= 0) & (wanted < size)
        if not (children.size and alive.any()):
            return np.full(len(codes), -1, dtype=np.int32)
        node[~alive] = 0
        ends = offsets[node + 1].astype(np.int64)
        place = lower_bounds(children, offsets[node].astype(np.int64), ends, wanted)
        alive &= place < ends
        alive &= children[np.minimum(place, children.size - 1)] == wanted
        node = place
    return np.where(alive, node, -1).astype(np.int32)


def lower_bounds(
    values: Int32Array, starts: Int64Array, ends: Int64Array, wanted: npt.NDArray[np.integer]
) -> Int64Array:
    """Find the lower bound of a value in each of several ascending ranges, by a vectorized binary search.

    Args:
        values: Values, ascending within each range.
            Shape: (n,).
        starts: Start of each range.
            Shape: (q,).
        ends: End of each range.
            Shape: (q,).
        wanted: The value to find in each range.
            Shape: (q,).

    Returns:
        Positions of the first value that is not smaller; the end of the range if all its values are.
        Shape: (q,).
    """
    low, width = starts.copy(), ends - starts
    for _ in range(int(width.max(initial=0)).bit_length()):
        half = width >> 1
        middle = low + half
        # An empty range must not move, whatever value follows it.
        below = (values.take(middle, mode="clip") < wanted) & (width > 0)
        low = np.where(below, middle + 1, low)
        width = np.where(below, width - half - 1, half)
    return low


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


def node_starts(codes: npt.NDArray[np.uint16]) -> list[Int64Array]:
    """Return, per level, the position of the first item below each node.

    Args:
        codes: SIDs of the items, sorted.
            Shape: (m, L).

    Returns:
        Positions of items.
        Shape: L x (n_l,).
    """
    if not len(codes):
        return [np.empty(0, dtype=np.int64) for _ in range(codes.shape[1])]
    # An item starts a node of level l if any of its first l + 1 codes differs from its predecessor's.
    opens = np.ones(codes.shape, dtype=np.bool_)
    opens[1:] = np.logical_or.accumulate(codes[1:] != codes[:-1], axis=1)
    return [np.flatnonzero(opens[:, level]) for level in range(codes.shape[1])]
