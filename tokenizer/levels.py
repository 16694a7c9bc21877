"""Owns the quantizer: residual k-means, one codebook a level, each fitted to what the levels before it left over.

Fitting runs in float32; what is frozen is rounded to the grid of `tokenizer/grid.py`, and encoding is exact there, so
codes do not depend on the batch. Codebooks hold only codes that some item uses: small catalogues get small ones.
Legend: N items, L levels, V codes of a level, D dimensions.

Source: Chen, Guan, Wang 2010, "Approximate Nearest Neighbor Search by Residual Vector Quantization", section 3.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenizer.errors import TokenizerError
from tokenizer.grid import MAX_DIM, VECTOR_BITS, Exact, require_rows, snap

_BLOCK_ROWS = 8192
# Vectors of length one and means of their residuals stay below; a residual then stays below 2 + 2 * 16 levels < 2^6,
# and its distance to a centroid needs 20 + 15 + 12 = 47 of 53 bits.
_COMPONENT_BOUND = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class ResidualLevels:
    """Frozen codebooks, first level first.

    Attributes:
        codebooks: Centroids of each level, multiples of 2^-14. Shape of each: (V, D).
    """

    codebooks: tuple[Exact, ...]

    def __post_init__(self) -> None:
        if not self.codebooks:
            msg = "quantizer: expected at least one codebook, got none; fit the tokenizer again"
            raise TokenizerError(msg)
        for level, codebook in enumerate(self.codebooks):
            require_rows(codebook, self.dim, f"codebook of level {level}")
            fits = 1 <= self.dim <= MAX_DIM and len(codebook) and np.abs(codebook).max() < _COMPONENT_BOUND
            if not fits or not np.array_equal(codebook, snap(codebook, VECTOR_BITS)):
                msg = (
                    f"codebook of level {level}: expected codes of 1 to {MAX_DIM} components below {_COMPONENT_BOUND}, "
                    f"multiples of 2^-{VECTOR_BITS}, got shape {codebook.shape}; fit or copy the tokenizer again"
                )
                raise TokenizerError(msg)
            codebook.setflags(write=False)

    @property
    def dim(self) -> int:
        """D: dimensions of the vectors it takes."""
        return int(self.codebooks[0].shape[-1])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes of each level."""
        return tuple(len(codebook) for codebook in self.codebooks)

    def encode(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """Give each vector its codes: at each level the nearest centroid to the residual, the first of equals.

        Args:
            vectors: Representation vectors; other values are first rounded to the 14-bit grid.

                Shape: (N, D).

        Returns:
            Codes, first level first.

            Shape: (N, L).

        Raises:
            TokenizerError: The vectors are not finite, have another dimension, or components of 2 and more.
        """
        require_rows(vectors, self.dim, "vectors to encode")
        if vectors.size and np.abs(vectors).max() >= _COMPONENT_BOUND:
            msg = f"vectors to encode: expected length about 1, got a component of {np.abs(vectors).max()}; scale them"
            raise TokenizerError(msg)
        codes = np.empty((len(vectors), len(self.codebooks)), dtype=np.int32)
        for start in range(0, len(vectors), _BLOCK_ROWS):
            residual = snap(vectors[start : start + _BLOCK_ROWS], VECTOR_BITS)
            for level, centroids in enumerate(self.codebooks):
                codes[start : start + _BLOCK_ROWS, level] = nearest = _nearest(residual, centroids)[0]
                residual -= centroids[nearest]
        return codes


def level_size(num_items: int, codebook_size: int) -> int:
    """Choose how many codes a level gets: the setting, or fewer where the catalogue is small.

    Twice the root of the catalogue, rounded up to a power of two, leaves far more SIDs than items with two levels and
    yet several items a code, without which codes say nothing about unseen items. 256 is reached at 4,097 items.

    Args:
        num_items: Items to fit on, at least 1.
        codebook_size: The most codes that the settings allow.

    Returns:
        1 for one item; never more than the number of items.
    """
    return min(codebook_size, num_items, 1 << math.ceil(math.log2(2.0 * math.sqrt(num_items))))


def fit_levels(
    vectors: npt.NDArray[np.float32],
    num_levels: int,
    codebook_size: int,
    iterations: int,
    sample: int,
    rng: np.random.Generator,
) -> ResidualLevels:
    """Fit the codebooks level by level.

    Args:
        vectors: Representation vectors of the catalogue, at least one.

            Shape: (N, D).
        num_levels: L.
        codebook_size: Codes a level at most.
        iterations: Rounds of k-means a level at most.
        sample: Vectors to fit on at most, drawn without replacement.
        rng: Draws sample, starts and restarts.

    Returns:
        Codebooks in which every code is used by some vector of the sample.

    Raises:
        TokenizerError: No vectors, or vectors that are not finite.
    """
    if not len(vectors):
        msg = "quantizer: cannot be fitted on an empty catalogue; give at least one item"
        raise TokenizerError(msg)
    require_rows(vectors, vectors.shape[-1], "vectors to fit")
    chosen = np.sort(rng.choice(len(vectors), sample, replace=False)) if len(vectors) > sample else slice(None)
    residual = snap(vectors[chosen], VECTOR_BITS)
    size = level_size(len(residual), codebook_size)
    codebooks = []
    for _ in range(num_levels):
        centroids = snap(_kmeans(residual.astype(np.float32), size, iterations, rng), VECTOR_BITS)
        used, codes = np.unique(_nearest(residual, centroids)[0], return_inverse=True)
        codebooks.append(centroids[used])
        residual -= centroids[used][codes]
    return ResidualLevels(tuple(codebooks))


def _kmeans(
    points: npt.NDArray[np.float32], size: int, iterations: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    # Plain sampled starts: k-means++ took 4 times as long and, by starting at outliers, gave fewer distinct SIDs.
    centroids = points[rng.choice(len(points), size, replace=False)]
    previous = np.full(len(points), -1)
    for _ in range(iterations):
        codes, distances = _nearest(points, centroids)
        if np.array_equal(codes, previous):
            break
        previous = codes
        order = np.argsort(codes, kind="stable")
        used, firsts, counts = np.unique(codes[order], return_index=True, return_counts=True)
        centroids[used] = np.add.reduceat(points[order], firsts, axis=0) / counts[:, None].astype(np.float32)
        dead = np.setdiff1d(np.arange(size), used)
        if len(dead) and distances.sum() > 0:
            # A dead code starts again at a badly served point; more distant points are likelier.
            centroids[dead] = points[rng.choice(len(points), len(dead), p=distances / distances.sum())]
    return centroids


def _nearest(
    points: npt.NDArray[np.floating], centroids: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.intp], Exact]:
    squares = (centroids * centroids).sum(axis=1)
    codes = np.empty(len(points), dtype=np.intp)
    distances = np.empty(len(points), dtype=np.float64)
    for start in range(0, len(points), _BLOCK_ROWS):
        block = points[start : start + _BLOCK_ROWS]
        # The square of the point is the same for all codes, so it is left out of the comparison.
        scores = squares - 2.0 * (block @ centroids.T)
        codes[start : start + _BLOCK_ROWS] = best = scores.argmin(axis=1)
        found = scores[np.arange(len(block)), best] + (block * block).sum(axis=1)
        distances[start : start + _BLOCK_ROWS] = np.maximum(found, 0.0)
    return codes, distances
