"""Fitting of quantization levels, each to the residual of the levels before it: on a sample, then over all vectors.

Vectors may be an array, a memory map, or a source that can be read in blocks repeatedly: only the sample, one block and
the codebooks are in memory. Codebooks of k-means contain only codes that some vector of the sample uses. Legend:
N vectors, D dimensions.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import VECTOR_BITS, Exact, require_rows, snap
from sidestream.tokenizer.errors import TokenizerError
from sidestream.tokenizer.levels.kinds import MAX_AXES, SCORE_BITS, CentroidLevel, FsqLevel, Level
from sidestream.tokenizer.levels.kmeans import Block, draw_sample, kmeans, kmeans_pass, nearest_centroids
from sidestream.tokenizer.levels.quantizer import Quantizer
from sidestream.tokenizer.settings import TokenizerSettings

Singles = npt.NDArray[np.float32]
# Called for every pass over all vectors; yields the same blocks each time.
BlockSource = Callable[[], Iterable[Block]]

_BLOCK_ROWS = 8192
# Prefixes are sums of centroids; components beyond the range of the grid are clipped.
_MAX_PREFIX = 2.0 - 2.0**-VECTOR_BITS


def level_size(num_items: int, codebook_size: int) -> int:
    """Choose the codebook size of a level: the setting, or less for a small catalogue.

    Twice the square root of the catalogue size, rounded up to a power of two, gives far more SIDs than items with two
    levels and still several items per code, without which codes do not generalize to unseen items. 256 is reached at
    4,097 items.

    Args:
        num_items: Items to fit on, at least 1.
        codebook_size: Maximum from the settings.

    Returns:
        1 for one item; never more than the number of items.
    """
    return min(codebook_size, num_items, 1 << math.ceil(math.log2(2.0 * math.sqrt(num_items))))


def fit_levels(vectors: Singles | BlockSource, settings: TokenizerSettings, rng: np.random.Generator) -> Quantizer:
    """Fit all levels, first level first.

    Args:
        vectors: Representation vectors of the catalogue, at least one; or a source that yields them in blocks.

            Shape: (N, D), of each block (num_rows, D).
        settings: Levels, kinds, sizes, rounds, sample.
        rng: Draws the sample, initial centroids and restarts.

    Returns:
        The frozen quantizer.

    Raises:
        TokenizerError: No vectors, vectors that are not finite, or levels of kind vq, which are trained instead.
    """
    if "vq" in settings.kinds:
        msg = "levels of kind vq are trained, not fitted: call sidestream.models.training.tokenizer.train_tokenizer"
        raise TokenizerError(msg)
    source = vectors if callable(vectors) else partial(_blocks_of, vectors)
    chosen, num_vectors = _draw(vectors, settings.kmeans_sample, rng)
    if not num_vectors:
        msg = "quantizer: cannot be fitted on an empty catalogue; give at least one item"
        raise TokenizerError(msg)
    require_rows(chosen, chosen.shape[-1], "vectors to fit")
    sample = snap(chosen, VECTOR_BITS)
    residual, levels = sample.copy(), list[Level]()
    passes = settings.kmeans_passes if num_vectors > len(sample) else 0
    for kind, size in zip(settings.kinds, level_sizes(settings, len(sample)), strict=True):
        if kind == "fsq":
            levels.append(fit_fsq(residual, size))
            break
        weight = settings.prefix_weight if kind == "psrq" and levels else None
        points = _points(residual, sample, weight)
        centroids = kmeans(points, size, settings.kmeans_iterations, rng)
        for _ in range(passes):
            blocks = (_points(*_residuals_of(levels, block), weight) for block in source())
            centroids = kmeans_pass(centroids, blocks, points, rng)
        level = _freeze(centroids, sample.shape[1], weight)
        used, codes = np.unique(_choose(level, residual, sample), return_inverse=True)
        levels.append(_keep(level, used))
        residual -= level.centroids[used][codes]
    return Quantizer(tuple(levels), settings.beam_size)


def fit_fsq(residual: Exact, size: int) -> FsqLevel:
    """Fit an FSQ level: principal axes, each split at its median, so that both sides have equally many items.

    Args:
        residual: Residuals of the levels before.

            Shape: (N, D).
        size: Maximum number of codes; reduced to a power of two, and to as many axes as dimensions.

    Returns:
        The frozen level.
    """
    count = max(1, min(int(math.log2(max(size, 2))), residual.shape[1], MAX_AXES))
    centred = residual - residual.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1].T[:count]
    signs = np.sign(axes[np.arange(count), np.abs(axes).argmax(axis=1)])
    axes = snap(axes * signs[:, None], VECTOR_BITS)
    places = residual @ axes.T
    thresholds = snap(np.median(places, axis=0), SCORE_BITS)
    above = places > thresholds
    values = np.zeros((count, 2))
    for bit in (0, 1):
        side = above == bool(bit)
        values[:, bit] = np.where(side, places, 0.0).sum(axis=0) / np.maximum(side.sum(axis=0), 1)
    return FsqLevel(axes, thresholds, snap(values, VECTOR_BITS))


def level_sizes(settings: TokenizerSettings, num_items: int) -> tuple[int, ...]:
    """Choose the maximum codebook size of each level: from the settings, but never more than the number of items."""
    if settings.codebook_sizes:
        return tuple(min(size, num_items) for size in settings.codebook_sizes)
    return (level_size(num_items, settings.codebook_size),) * settings.num_levels


def _blocks_of(vectors: Singles) -> Iterator[Singles]:
    for start in range(0, len(vectors), _BLOCK_ROWS):
        yield np.asarray(vectors[start : start + _BLOCK_ROWS])


def _draw(vectors: Singles | BlockSource, sample: int, rng: np.random.Generator) -> tuple[Block, int]:
    if callable(vectors):
        return draw_sample(vectors(), sample, rng)
    if len(vectors) <= sample:
        return np.asarray(vectors), len(vectors)
    return np.asarray(vectors[np.sort(rng.choice(len(vectors), sample, replace=False))]), len(vectors)


def _residuals_of(levels: list[Level], block: Block) -> tuple[Exact, Exact]:
    exact = snap(require_rows(block, block.shape[-1], "vectors to fit"), VECTOR_BITS)
    if not levels:
        return exact, exact
    before = Quantizer(tuple(levels))
    # Not the block itself: if it is float16, arithmetic in half precision took a quarter of the time of a pass.
    return exact - before.decode(before.encode(exact.astype(np.float32))), exact


def _points(residual: Exact, vectors: Exact, weight: float | None) -> Singles:
    if weight is None:
        return residual.astype(np.float32)
    return np.concatenate([residual, weight * (vectors - residual)], axis=1, dtype=np.float32, casting="same_kind")


def _freeze(centroids: Singles, dim: int, weight: float | None) -> CentroidLevel:
    own = snap(centroids[:, :dim], VECTOR_BITS)
    if weight is None:
        return CentroidLevel(own)
    # |r - c|^2 + |w s - p|^2 for residual r and prefix s needs s times w p, and the squares of c and p.
    weighted = centroids[:, dim:].astype(np.float64)
    squares = (own * own).sum(axis=1) + (weighted * weighted).sum(axis=1)
    prefixes = snap(np.clip(weight * weighted, -_MAX_PREFIX, _MAX_PREFIX), VECTOR_BITS)
    return CentroidLevel(own, prefixes, snap(squares, SCORE_BITS))


def _choose(level: CentroidLevel, residual: Exact, vectors: Exact) -> npt.NDArray[np.intp]:
    if level.prefixes is None:
        return nearest_centroids(residual, level.centroids)[0]
    starts = range(0, len(residual), _BLOCK_ROWS)
    blocks = [slice(start, start + _BLOCK_ROWS) for start in starts]
    return np.concatenate([level.scores(residual[block], vectors[block]).argmin(axis=1) for block in blocks])


def _keep(level: CentroidLevel, used: npt.NDArray[np.intp]) -> CentroidLevel:
    if level.prefixes is None or level.offsets is None:
        return CentroidLevel(level.centroids[used])
    return CentroidLevel(level.centroids[used], level.prefixes[used], level.offsets[used])
