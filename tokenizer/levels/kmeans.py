"""K-means: on a sample in memory, then over all vectors block by block, in bounded memory.

Runs in float32; the caller rounds the result to the grid. An unused code is restarted at a vector far from its
centroid, in every iteration and every pass.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_BLOCK_ROWS = 8192

Singles = npt.NDArray[np.float32]
# float16 halves what many vectors take on the way; nothing is computed in half precision.
Block = npt.NDArray[np.float16 | np.float32]


def kmeans(points: Singles, size: int, iterations: int, rng: np.random.Generator) -> Singles:
    """Fit centroids to vectors in memory.

    Args:
        points: At least `size` vectors.

            Shape: (num_points, dim).
        size: Number of centroids.
        iterations: Maximum number of iterations; fewer once no vector changes its centroid.
        rng: Draws initial centroids and restarts.

    Returns:
        Centroids; some may have no vectors.

        Shape: (size, dim).
    """
    # Initialized by sampling: k-means++ took 4 times as long and, by starting at outliers, gave fewer distinct SIDs.
    centroids = points[rng.choice(len(points), size, replace=False)]
    previous = np.full(len(points), -1)
    for _ in range(iterations):
        codes, distances = nearest_centroids(points, centroids)
        if np.array_equal(codes, previous):
            break
        previous = codes
        sums, counts = _add_up(points, codes, size)
        _move(centroids, sums, counts)
        _restart(centroids, counts == 0, points, distances, rng)
    return centroids


def draw_sample(blocks: Iterable[Block], size: int, rng: np.random.Generator) -> tuple[Block, int]:
    """Draw a uniform sample of vectors that do not fit in memory, independent of their division into blocks.

    Each row gets a random key, and the rows with the smallest keys are kept.

    Args:
        blocks: All vectors, once.

            Shape of each: (num_rows, dim).
        size: Maximum size of the sample; twice as many are held in memory.
        rng: Draws the keys.

    Returns:
        The sampled vectors in their order, and the total number of vectors.

        Shape: (size or fewer, dim).
    """
    kept, keys, count, limit = list[Block](), list[npt.NDArray[np.float64]](), 0, np.inf
    for block in blocks:
        count += len(block)
        drawn = rng.random(len(block))
        # Selecting after every block copied the sample so often that it took a quarter of the time of a pass.
        low = drawn < limit
        kept.append(block[low])
        keys.append(drawn[low])
        if sum(map(len, keys)) >= 2 * size:
            rows, numbers = _smallest(kept, keys, size)
            kept, keys, limit = [rows], [numbers], float(numbers.max())
    return (_smallest(kept, keys, size)[0] if kept else np.zeros((0, 0), np.float32)), count


def kmeans_pass(centroids: Singles, blocks: Iterable[Singles], sample: Singles, rng: np.random.Generator) -> Singles:
    """Move each centroid to the mean of its vectors: one k-means iteration over vectors that do not fit in memory.

    Args:
        centroids: The centroids before.

            Shape: (size, dim).
        blocks: All vectors, once.

            Shape of each: (num_rows, dim).
        sample: A sample of them, from which unused codes are restarted.

            Shape: (num_points, dim).
        rng: Draws restarts.

    Returns:
        The centroids after.

        Shape: (size, dim).
    """
    totals, counts = np.zeros(centroids.shape), np.zeros(len(centroids))
    for block in blocks:
        sums, served = _add_up(block, nearest_centroids(block, centroids)[0], len(centroids))
        totals += sums
        counts += served
    moved = centroids.copy()
    _move(moved, totals, counts)
    _restart(moved, counts == 0, sample, nearest_centroids(sample, moved)[1], rng)
    return moved


def nearest_centroids(
    points: npt.NDArray[np.floating], centroids: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Find each vector's nearest centroid, the first one in a tie.

    Args:
        points: Vectors.

            Shape: (num_points, dim).
        centroids: Centroids.

            Shape: (size, dim).

    Returns:
        Indices of the centroids, and squared distances to them.

        Shape: (num_points,) each.
    """
    squares = (centroids * centroids).sum(axis=1)
    codes = np.empty(len(points), dtype=np.intp)
    distances = np.empty(len(points), dtype=np.float64)
    for start in range(0, len(points), _BLOCK_ROWS):
        block = points[start : start + _BLOCK_ROWS]
        # The square of the point is the same for all codes, so it is omitted from the comparison.
        scores = squares - 2.0 * (block @ centroids.T)
        codes[start : start + _BLOCK_ROWS] = best = scores.argmin(axis=1)
        found = scores[np.arange(len(block)), best] + (block * block).sum(axis=1)
        distances[start : start + _BLOCK_ROWS] = np.maximum(found, 0.0)
    return codes, distances


def _smallest(
    blocks: list[Block], keys: list[npt.NDArray[np.float64]], size: int
) -> tuple[Block, npt.NDArray[np.float64]]:
    rows, numbers = np.concatenate(blocks), np.concatenate(keys)
    if len(rows) <= size:
        return rows, numbers
    stay = np.sort(np.argpartition(numbers, size)[:size])
    return rows[stay], numbers[stay]


def _add_up(points: Singles, codes: npt.NDArray[np.intp], size: int) -> tuple[Singles, npt.NDArray[np.intp]]:
    sums = np.zeros((size, points.shape[1]), dtype=np.float32)
    order = np.argsort(codes, kind="stable")
    used, firsts = np.unique(codes[order], return_index=True)
    if len(used):
        sums[used] = np.add.reduceat(points[order], firsts, axis=0)
    return sums, np.bincount(codes, minlength=size)


def _move(centroids: Singles, sums: npt.NDArray[np.floating], counts: npt.NDArray[np.generic]) -> None:
    used = np.flatnonzero(counts)
    centroids[used] = sums[used] / counts[used, None].astype(sums.dtype)


def _restart(
    centroids: Singles,
    dead: npt.NDArray[np.bool_],
    points: Singles,
    distances: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    if dead.any() and distances.sum() > 0:
        # The probability of a point is proportional to its distance.
        centroids[dead] = points[rng.choice(len(points), int(dead.sum()), p=distances / distances.sum())]
