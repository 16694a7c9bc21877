"""Reference encoding that defines the codes: in float64 on the grid, where no sum is ever rounded.

A path is one hypothesis of the beam for one vector: its codes so far, its residual, and the sum of its scores. Legend:
N vectors, L levels with centroids, K paths, V codes, D dimensions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import Exact
from sidestream.tokenizer.levels.kinds import CentroidLevel

# Bounds the residuals of all paths to 64 MB.
_BLOCK_NUMBERS = 1 << 23


def encode_exact(
    levels: Sequence[CentroidLevel], beam_size: int, vectors: Exact
) -> tuple[npt.NDArray[np.int32], Exact]:
    """Encode vectors by beam search: keep the `beam_size` best paths per level, return the one with the least residual.

    Args:
        levels: Levels with centroids, first level first.
        beam_size: Paths kept from level to level; 1 is greedy.
        vectors: On the 14-bit grid.

            Shape: (N, D).

    Returns:
        Codes, first level first, and quantization residuals. Ties are resolved in favour of the first: paths in the
        order in which they were kept, then codes.

        Shape: (N, L) and (N, D).
    """
    codes = np.empty((len(vectors), len(levels)), dtype=np.int32)
    residuals = np.empty_like(vectors)
    step = max(1, _BLOCK_NUMBERS // (beam_size * max(vectors.shape[1], *(level.size for level in levels))))
    for start in range(0, len(vectors), step):
        block = slice(start, start + step)
        found, residual = _encode_block(levels, beam_size, vectors[block], 1)
        codes[block], residuals[block] = found[:, 0], residual[:, 0]
    return codes, residuals


def paths_exact(levels: Sequence[CentroidLevel], count: int, vectors: Exact) -> tuple[npt.NDArray[np.int32], Exact]:
    """Return several paths for each vector, with `count` kept per level.

    Args:
        levels: Levels with centroids, first level first.
        count: Paths kept from level to level, and returned.
        vectors: On the 14-bit grid, a block of them.

            Shape: (N, D).

    Returns:
        Codes and residuals, the path with the least sum of scores first.

        Shape: (N, K, L) and (N, K, D).
    """
    return _encode_block(levels, count, vectors, count)


def smallest(scores: npt.NDArray[np.floating], count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.floating]]:
    """Find the smallest values of each row, ascending, ties by column; overwrites them with infinity.

    One argmin pass per value: for five of 1,280 numbers that takes a third of the time of a partition.

    Args:
        scores: Finite numbers.

            Shape: (N, V).
        count: Number of values, at most V.

    Returns:
        Columns and values.

        Shape: (N, count) each.
    """
    rows = np.arange(len(scores))
    columns = np.empty((len(scores), count), dtype=np.intp)
    values = np.empty((len(scores), count), dtype=scores.dtype)
    for place in range(count):
        columns[:, place] = found = scores.argmin(axis=1)
        values[:, place] = scores[rows, found]
        scores[rows, found] = np.inf
    return columns, values


def _encode_block(
    levels: Sequence[CentroidLevel], beam_size: int, vectors: Exact, num_last: int
) -> tuple[npt.NDArray[np.int32], Exact]:
    num_vectors, dim = vectors.shape
    residual, costs = vectors[:, None], np.zeros((num_vectors, 1))
    codes = np.empty((num_vectors, 1, 0), dtype=np.int32)
    rows = np.arange(num_vectors)[:, None]
    for number, level in enumerate(levels):
        paths = residual.shape[1]
        own = np.broadcast_to(vectors[:, None], residual.shape).reshape(-1, dim)
        scores = level.scores(residual.reshape(-1, dim), own).reshape(num_vectors, paths, level.size)
        scores += costs[:, :, None]
        is_last = number == len(levels) - 1
        kept = min(num_last if is_last else beam_size, paths * level.size)
        found, costs = smallest(scores.reshape(num_vectors, -1), kept)  # type: ignore[assignment]
        parents, chosen = np.divmod(found, level.size)
        residual = residual[rows, parents] - level.centroids[chosen]
        codes = np.concatenate([codes[rows, parents], chosen[:, :, None].astype(np.int32)], axis=2)
    return codes, residual
