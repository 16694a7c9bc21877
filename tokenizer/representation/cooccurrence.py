"""Collaborative item vectors: truncated SVD of the PPMI matrix of items that are heard near each other.

numpy only: the matrix is stored as sorted coordinates, and the SVD is randomized, so that a few passes over the
non-zero entries suffice. Legend: N items, E listens, Z non-zero entries, K dimensions.

Source: Levy, Goldberg, Dagan 2015, "Improving Distributional Similarity" (PPMI, context smoothing, root of the singular
values); Halko, Martinsson, Tropp 2011, "Finding Structure with Randomness", algorithms 4.4 and 5.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.errors import TokenizerError

# Context smoothing: context counts are raised to this power.
_CONTEXT_POWER = 0.75
_OVERSAMPLING = 16
_POWER_ITERATIONS = 3
# Squared singular values below this share of the largest are rounding noise of float32.
_RANK_TOLERANCE = 1e-9
# Bounds the memory of the pair count: entries held before duplicates are added up.
_MAX_PENDING = 8_000_000


@dataclass(frozen=True, slots=True)
class SparseMatrix:
    """A square sparse matrix: entries sorted by row, then column, each pair once.

    Attributes:
        size: Rows and columns.
        rows: Row of each entry. Shape: (Z,).
        columns: Column of each entry. Shape: (Z,).
        values: Value of each entry. Shape: (Z,).
    """

    size: int
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    def dot(self, dense: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Multiply by a dense matrix.

        Args:
            dense: Any matrix with one row for each column of this one.

                Shape: (N, K).

        Returns:
            The product.

            Shape: (N, K).
        """
        result = np.zeros((self.size, dense.shape[1]), dtype=np.float32)
        firsts = np.flatnonzero(np.diff(self.rows, prepend=-1))
        stops = np.append(firsts, len(self.rows))[1:]
        bounds = zip(self.rows[firsts].tolist(), firsts.tolist(), stops.tolist(), strict=True)
        # One small product per row stays in the cache: 20 times faster than one np.add.reduceat over all entries.
        for row, start, stop in bounds:
            np.dot(self.values[start:stop], dense.take(self.columns[start:stop], axis=0), out=result[row])
        return result


def count_pairs(sequences: Sequence[npt.NDArray[np.integer]], num_items: int, window: int) -> SparseMatrix:
    """Count how often two items are heard near each other; a pair k positions apart adds 1/k.

    Args:
        sequences: One array of item indices for each listener, oldest first.
        num_items: N; indices are below it.
        window: Maximum distance in positions.

    Returns:
        The symmetric counts, without the diagonal.

    Raises:
        TokenizerError: An index is negative or not below `num_items`.
    """
    lengths = np.fromiter((len(sequence) for sequence in sequences), dtype=np.int64, count=len(sequences))
    items = np.concatenate([*sequences, np.empty(0, dtype=np.int64)]).astype(np.int64)
    if items.size and not 0 <= items.min() <= items.max() < num_items:
        msg = (
            f"sequences hold item index {items.min()} to {items.max()}, expected 0 to {num_items - 1}; index them again"
        )
        raise TokenizerError(msg)
    listener = np.repeat(np.arange(len(lengths)), lengths)
    keys, weights = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
    pending: list[tuple[npt.NDArray[np.int64], float]] = []
    for apart in range(1, window + 1):
        together = (listener[apart:] == listener[:-apart]) & (items[apart:] != items[:-apart])
        first, second = items[:-apart][together], items[apart:][together]
        pending.append((np.concatenate([first * num_items + second, second * num_items + first]), 1.0 / apart))
        if sum(len(part) for part, _ in pending) > _MAX_PENDING or apart == window:
            keys, weights = _add_equal(keys, weights, pending)
            pending = []
    return SparseMatrix(num_items, keys // num_items, keys % num_items, weights.astype(np.float32))


def ppmi(counts: SparseMatrix) -> SparseMatrix:
    """Convert counts to positive pointwise mutual information.

    Args:
        counts: Symmetric pair counts.

    Returns:
        max(0, log(p(i, j) / (p(i) p'(j)))) with p' the context distribution raised to 0.75; zeros are omitted.
    """
    totals = np.bincount(counts.rows, weights=counts.values, minlength=counts.size)
    contexts = totals**_CONTEXT_POWER
    expected = totals[counts.rows] * (contexts / max(contexts.sum(), 1e-300))[counts.columns]
    values = np.log(counts.values / expected)
    kept = values > 0
    return SparseMatrix(counts.size, counts.rows[kept], counts.columns[kept], values[kept].astype(np.float32))


def cooccurrence_vectors(
    sequences: Sequence[npt.NDArray[np.integer]], num_items: int, dim: int, rng: np.random.Generator, window: int = 5
) -> npt.NDArray[np.float32]:
    """Compute collaborative vectors: items that are heard near the same items get similar vectors.

    Args:
        sequences: One array of item indices for each listener, oldest first; the training part only.
        num_items: N; indices are below it.
        dim: K; columns beyond the rank of the data are zero.
        rng: Draws the random projection.
        window: Listens at most this many positions apart count as co-listened.

    Returns:
        Left singular vectors of the PPMI matrix times the root of the singular values. A row of zeros means that the
        item has no co-occurrences.

        Shape: (N, K).

    Raises:
        TokenizerError: An index is negative or not below `num_items`.
    """
    matrix = ppmi(count_pairs(sequences, num_items, window))
    transposed = _transpose(matrix)
    width = min(num_items, dim + _OVERSAMPLING)
    vectors = np.zeros((num_items, dim), dtype=np.float32)
    if not len(matrix.values) or not dim:
        return vectors
    basis = _orthonormal(matrix.dot(rng.standard_normal((num_items, width)).astype(np.float32)))
    for _ in range(_POWER_ITERATIONS):
        basis = _orthonormal(matrix.dot(_orthonormal(transposed.dot(basis))))
    inner = transposed.dot(basis).astype(np.float64)
    squares, left = np.linalg.eigh(inner.T @ inner)
    squares, left = squares[::-1], left[:, ::-1]
    rank = min(dim, int((squares > squares[0] * _RANK_TOLERANCE).sum()))
    factors = (basis @ left[:, :rank]) * squares[:rank] ** 0.25
    # A singular vector's sign is arbitrary; fixed here so that equal data gives equal vectors.
    signs = np.sign(factors[np.abs(factors).argmax(axis=0), np.arange(rank)])
    vectors[:, :rank] = factors * signs
    # Rows without entries contain rounding noise of the projection.
    vectors[np.bincount(matrix.rows, minlength=num_items) == 0] = 0.0
    return vectors


def _orthonormal(columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    # By the Gram matrix: a Householder QR took 10 times as long. Degenerate directions become columns of zeros.
    exact = columns.astype(np.float64)
    squares, axes = np.linalg.eigh(exact.T @ exact)
    kept = squares > squares[-1] * _RANK_TOLERANCE
    lengths = np.sqrt(squares, where=kept, out=np.ones_like(squares))
    orthonormal: npt.NDArray[np.float32] = (exact @ (axes * (kept / lengths))).astype(np.float32)
    return orthonormal


def _transpose(matrix: SparseMatrix) -> SparseMatrix:
    order = np.lexsort((matrix.rows, matrix.columns))
    return SparseMatrix(matrix.size, matrix.columns[order], matrix.rows[order], matrix.values[order])


def _add_equal(
    keys: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    pending: Sequence[tuple[npt.NDArray[np.int64], float]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    all_keys = np.concatenate([keys, *(part for part, _ in pending)])
    all_weights = np.concatenate([weights, *(np.full(len(part), weight) for part, weight in pending)])
    unique, where = np.unique(all_keys, return_inverse=True)
    return unique, np.bincount(where, weights=all_weights, minlength=len(unique)).astype(np.float64)
