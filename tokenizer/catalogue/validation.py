"""Validation of updates before they are applied, and of snapshots before they are published.

The engine uses these arrays unchecked: a wrong offset there is a crash or a candidate that does not exist. The part
that a merge has touched is checked every time, the whole trie at intervals: checking a million items costs as much as
merging a thousand.
"""

import math
import operator

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.catalogue.facts import MAX_SOURCE_OFFSET, REVISION_BITS, CatalogueUpdate
from sidestream.tokenizer.catalogue.rows import Rows
from sidestream.tokenizer.catalogue.trie.csr import Splice, ranges
from sidestream.tokenizer.catalogue.trie.trie import Trie
from sidestream.tokenizer.errors import CatalogueError

# Range that `sums` can add up; the square roots of listens that item tables weight by are far inside it.
LEAST_WEIGHT, MOST_WEIGHT = 2.0**-10, 2.0**20


def check_update(update: CatalogueUpdate, codebook_sizes: tuple[int, ...], x_dim: int) -> None:
    """Check that an update fits the catalogue.

    Args:
        update: The update.
        codebook_sizes: Codes per level.
        x_dim: Dimensions of a representation vector.

    Raises:
        CatalogueError: The SID or the vector does not fit, or the vector is missing.
    """
    if update.source_offset is not None and not (
        -1 <= update.source_offset <= MAX_SOURCE_OFFSET and 0 <= update.revision < 2**REVISION_BITS
    ):
        msg = (
            f"item {update.item_id!r}: expected a source offset up to {MAX_SOURCE_OFFSET} and a revision below "
            f"{2**REVISION_BITS}, got {update.source_offset} and {update.revision}; correct what wrote it"
        )
        raise CatalogueError(msg)
    if update.facts is None or update.sid is None:
        return
    for sid in (update.sid, *update.more_sids):
        fits = len(sid) == len(codebook_sizes)
        if fits and min(sid) >= 0 and all(map(operator.lt, sid, codebook_sizes)):
            continue
        msg = (
            f"item {update.item_id!r} at source offset {update.source_offset}: SID {sid} does not fit codebooks "
            f"{codebook_sizes}; tokenize the item again with the tokenizer of this catalogue"
        )
        raise CatalogueError(msg)
    x_int8 = update.x_int8
    if type(x_int8) is bytes:
        got: int | None = len(x_int8)
    else:
        components = update.components
        got = components.nbytes if components.itemsize == 1 else None
    if got != x_dim or not (math.isfinite(update.x_scale) and update.x_scale >= 0):
        msg = (
            f"item {update.item_id!r} at source offset {update.source_offset}: expected a vector of {x_dim} int8 "
            f"components and a finite scale >= 0, got {got} bytes and scale {update.x_scale}; "
            "tokenize the item again with the tokenizer of this catalogue"
        )
        raise CatalogueError(msg)


def check_vectors(vectors: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], shape: tuple[int, int]) -> None:
    """Check item vectors computed by the model artifact.

    Args:
        vectors: Item vectors.
            Shape: (n, d).
        weights: Weights.
            Shape: (n,).
        shape: The expected (n, d).

    Raises:
        CatalogueError: Wrong shapes, a component that is not finite, or a weight that cannot be summed.
    """
    if vectors.shape != shape or weights.shape != shape[:1]:
        msg = (
            f"item vectors: expected shapes {shape} and {shape[:1]}, got {vectors.shape} and {weights.shape}; "
            "the model artifact does not belong to this catalogue"
        )
        raise CatalogueError(msg)
    if not (np.isfinite(vectors).all() and ((weights >= LEAST_WEIGHT) & (weights <= MOST_WEIGHT)).all()):
        msg = (
            f"item vectors: expected finite components and weights from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}; the model "
            "artifact's item table is damaged"
        )
        raise CatalogueError(msg)


def check_trie(trie: Trie, codebook_sizes: tuple[int, ...], rows: Rows) -> None:
    """Check that a trie is valid for a beam search.

    Args:
        trie: The trie.
        codebook_sizes: Codes per level.
        rows: The store that it refers to.

    Raises:
        CatalogueError: Offsets not ascending or not covering, codes unsorted or out of range, bucket rows out of range
            or repeated, node vectors or masses of wrong length or not finite.
    """
    parents = 1
    for level, size in enumerate(codebook_sizes):
        codes, offsets = trie.level_codes[level], trie.level_offsets[level]
        where = f"trie level {level}"
        _check_offsets(offsets, parents, codes.size, where)
        in_range = codes.size == 0 or (codes.min() >= 0 and codes.max() < size)
        _require(bool(in_range), where, f"codes in [0, {size})")
        rising = np.ones(codes.size + 1, dtype=np.bool_)
        rising[1:-1] = np.diff(codes) > 0
        rising[offsets] = True
        _require(bool(rising.all()), where, "codes strictly ascending below each node")
        is_last = level == trie.num_levels - 1
        table = len(rows.scale_table)
        if is_last:
            in_table = bool((trie.leaf_rows >= -table).all() and (trie.leaf_rows < table).all())
            _require(in_table, where, f"leaf rows in a table of {table}")
        masses = trie.node_log_mass[level]
        scales = rows.scale_table[trie.leaf_rows] if is_last else trie.node_scales[level]
        lengths = {codes.size, masses.size, scales.size}
        lengths |= set() if is_last else {len(trie.node_vectors[level])}
        _require(len(lengths) == 1, where, "one vector, scale and mass per node")
        _require(bool(np.isfinite(masses).all() and np.isfinite(scales).all()), where, "finite scales and masses")
        parents = codes.size
    items, num_rows = trie.bucket_rows, rows.keys.size
    _check_offsets(trie.bucket_offsets, parents, items.size, "buckets")
    _require(
        items.size == 0 or bool(items.min() >= 0 and items.max() < num_rows), "buckets", f"rows in [0, {num_rows})"
    )
    counts = np.bincount(items, minlength=1)
    _require(bool(counts.max() <= 1), "buckets", "every row at most once")


def check_merged(
    trie: Trie, splices: tuple[Splice, ...], codebook_sizes: tuple[int, ...], rows: Rows, alive: npt.NDArray[np.bool_]
) -> None:
    """Check the fresh nodes of a merged trie; the others were checked when they were created.

    Args:
        trie: The trie after a merge.
        splices: Splices of its levels.
        codebook_sizes: Codes per level.
        rows: The store that it refers to.
        alive: Mask of the rows that are in a bucket.
            Shape: (R,).

    Raises:
        CatalogueError: Arrays of one level differ in length; fresh nodes have no children; codes are unsorted or out of
            range; rows are out of range, repeated or not alive; or scales or masses are not finite.
    """
    for level, (size, splice) in enumerate(zip(codebook_sizes, splices, strict=True)):
        _check_fresh(trie, level, splice.fresh, size, rows)
    items, num_rows = trie.bucket_rows, rows.keys.size
    _require(int(trie.bucket_offsets[-1]) == items.size, "buckets", f"ranges over {items.size}")
    members = items[ranges(trie.bucket_offsets, splices[-1].fresh)[0]]
    _require(bool((members >= 0).all() and (members < num_rows).all()), "buckets", f"rows in [0, {num_rows})")
    once = (np.diff(np.sort(members)) > 0).all()
    _require(bool(once and alive[members].all()), "buckets", "rows alive, each at most once")


def _check_fresh(trie: Trie, level: int, fresh: npt.NDArray[np.int64], size: int, rows: Rows) -> None:
    """Require that the arrays of a level fit each other, and that its fresh nodes are complete."""
    where = f"trie level {level}"
    codes, offsets, below = trie.level_codes[level], trie.level_offsets[level], trie.below(level)
    is_last = level == trie.num_levels - 1
    scales = trie.leaf_rows if is_last else trie.node_scales[level]
    lengths = {codes.size, int(offsets[-1]), below.size - 1, scales.size, trie.node_log_mass[level].size}
    lengths |= set() if is_last else {len(trie.node_vectors[level]), trie.node_masses[level].size}
    _require(len(lengths) == 1, where, "one vector, scale, mass and range per node")
    _require(int(offsets[0]) == 0, where, "ranges from the first node on")
    _require(bool((below[fresh] < below[fresh + 1]).all()), where, "fresh nodes with children")
    mine = codes[fresh]
    _require(bool((mine >= 0).all() and (mine < size).all()), where, f"codes in [0, {size})")
    _check_siblings(codes, offsets, fresh, where)
    if is_last:
        table, places = len(rows.scale_table), trie.leaf_rows[fresh]
        in_table = bool((places >= -table).all() and (places < table).all())
        _require(in_table, where, f"leaf rows in a table of {table}")
    its_scales = rows.scale_table[trie.leaf_rows[fresh]] if is_last else trie.node_scales[level][fresh]
    masses = trie.node_log_mass[level][fresh]
    _require(bool(np.isfinite(masses).all() and np.isfinite(its_scales).all()), where, "finite scales and masses")


def _check_siblings(
    codes: npt.NDArray[np.int32], offsets: npt.NDArray[np.int32], fresh: npt.NDArray[np.int64], where: str
) -> None:
    """Require that fresh nodes are in order among their siblings."""
    # Cast to one type: numpy would widen all offsets otherwise.
    parents = np.searchsorted(offsets, fresh.astype(offsets.dtype), side="right") - 1
    after_first, before_last = fresh > offsets[parents], fresh + 1 < offsets[parents + 1]
    rising = (codes[fresh[after_first] - 1] < codes[fresh[after_first]]).all()
    rising &= (codes[fresh[before_last]] < codes[fresh[before_last] + 1]).all()
    _require(bool(rising), where, "codes strictly ascending below each node")


def _check_offsets(offsets: npt.NDArray[np.int32], num_ranges: int, total: int, where: str) -> None:
    # Only the root of an empty catalogue may have no children: an inner node without any would be a dead end.
    least = 0 if total == 0 else 1
    whole = offsets.size == num_ranges + 1 and offsets[0] == 0 and offsets[-1] == total
    _require(bool(whole and (np.diff(offsets) >= least).all()), where, f"{num_ranges} ascending ranges over {total}")


def _require(condition: bool, where: str, expected: str) -> None:
    if not condition:
        msg = f"catalogue snapshot, {where}: expected {expected}; this is a defect, the previous snapshot stays in use"
        raise CatalogueError(msg)
