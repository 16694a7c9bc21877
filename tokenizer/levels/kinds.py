"""Frozen quantization levels of each kind: arrays, scores of codes, and decoding.

All numbers are on the grid of `tokenizer/arrays/grid.py`, so that scores are exact.

Legend: N vectors, V codes, D dimensions, B axes of an FSQ level.

Source: Chen, Guan, Wang 2010, section 3 (residual k-means); PSRQ, arXiv 2508.20359 (clusters of residual and prefix);
QARM V2, arXiv 2602.08559 (finite scalar quantization of the last residual).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import MAX_DIM, VECTOR_BITS, Exact, require_rows, snap
from sidestream.tokenizer.errors import TokenizerError

LevelKind = Literal["kmeans", "psrq", "fsq"]
Arrays = Mapping[str, npt.NDArray[np.generic]]

# Unit vectors and means of their residuals stay below; a residual then stays below 2 + 2 * 16 levels < 2^6, and its
# distance to a centroid needs 20 + 15 + 12 = 47 of 53 bits.
COMPONENT_BOUND = 2.0
# Grid of products of two numbers of the vector grid.
SCORE_BITS = 2 * VECTOR_BITS
MAX_AXES = 16


class Level(Protocol):
    """Interface of all kinds of levels."""

    @property
    def kind(self) -> LevelKind:
        """The kind, as artifacts record it."""

    @property
    def dim(self) -> int:
        """D: dimensions of the input vectors."""

    @property
    def size(self) -> int:
        """V: number of codes."""

    def decode(self, codes: npt.NDArray[np.int32]) -> Exact:
        """Decode codes to vectors.

        Args:
            codes: Codes of this level.

                Shape: (N,).

        Returns:
            The vector that each code subtracts from the residual.

            Shape: (N, D).
        """

    def arrays(self, number: int) -> dict[str, npt.NDArray[np.generic]]:
        """Return all arrays by name, as an artifact stores them and a version hashes them.

        Args:
            number: Index of the level, from 0; part of the names.

        Returns:
            The arrays.
        """


@dataclass(frozen=True, eq=False)
class CentroidLevel:
    """Nearest centroid to the residual; with prefixes (kind `psrq`), to the residual concatenated with the prefix.

    The prefix of a vector is what the levels before decode to: the vector minus its residual. Only the residual half of
    a centroid is subtracted from the residual.

    Attributes:
        centroids: Multiples of 2^-14 below 2. Shape: (V, D).
        prefixes: Prefix half of the centroids times the squared prefix weight, or None. Shape: (V, D).
        offsets: Squared length of both halves, multiples of 2^-28; None without prefixes. Shape: (V,).
    """

    centroids: Exact
    prefixes: Exact | None = None
    offsets: Exact | None = None

    def __post_init__(self) -> None:
        _require_codebook(self.centroids, "codebook of a level")
        if self.prefixes is None:
            return
        _require_codebook(self.prefixes, "prefix half of a level")
        same = self.prefixes.shape == self.centroids.shape
        if not same or self.offsets is None or self.offsets.shape != (self.size,) or _off_grid(self.offsets):
            msg = (
                f"level psrq: expected a prefix and an offset (a multiple of 2^-{SCORE_BITS}) for each of {self.size} "
                f"codes, got prefixes of shape {self.prefixes.shape}; fit or copy the tokenizer again"
            )
            raise TokenizerError(msg)
        self.offsets.setflags(write=False)

    @property
    def kind(self) -> LevelKind:
        """`psrq` with prefixes, else `kmeans`."""
        return "kmeans" if self.prefixes is None else "psrq"

    @property
    def dim(self) -> int:
        """D: dimensions of the input vectors."""
        return int(self.centroids.shape[1])

    @property
    def size(self) -> int:
        """V: number of codes."""
        return len(self.centroids)

    @cached_property
    def biases(self) -> Exact:
        """Part of a code's score that is independent of the vector. Shape: (V,)."""
        biases: Exact = (self.centroids * self.centroids).sum(axis=1) if self.offsets is None else self.offsets
        return biases

    @cached_property
    def couplings(self) -> Exact:
        """Factors of earlier centroids when scores are computed from the whole vector. Shape: (V, D)."""
        return self.centroids if self.prefixes is None else self.centroids - self.prefixes

    def scores(self, residual: Exact, vectors: Exact) -> Exact:
        """Score all codes; the least is chosen. The square of the residual, the same for all codes, is omitted.

        Args:
            residual: Residuals of the levels before.

                Shape: (N, D).
            vectors: The encoded vectors.

                Shape: (N, D).

        Returns:
            Exact scores.

            Shape: (N, V).
        """
        products = residual @ self.centroids.T
        if self.prefixes is not None:
            products += (vectors - residual) @ self.prefixes.T
        scores: Exact = self.biases - 2.0 * products
        return scores

    def decode(self, codes: npt.NDArray[np.int32]) -> Exact:
        """Return each code's centroid."""
        return self.centroids[codes]

    def arrays(self, number: int) -> dict[str, npt.NDArray[np.generic]]:
        """Return all arrays by name; float32 represents the grid of the vectors exactly."""
        arrays: dict[str, npt.NDArray[np.generic]] = {f"codebook_{number:02d}": self.centroids.astype(np.float32)}
        if self.prefixes is not None and self.offsets is not None:
            arrays |= {f"prefix_{number:02d}": self.prefixes.astype(np.float32), f"offset_{number:02d}": self.offsets}
        return arrays


@dataclass(frozen=True, eq=False)
class FsqLevel:
    """One bit per axis: whether the residual is above the axis's threshold; 2^B codes. Always the last level.

    Attributes:
        axes: Directions, multiples of 2^-14. Shape: (B, D).
        thresholds: Multiples of 2^-28. Shape: (B,).
        values: Coordinates on each axis for residuals below and above, multiples of 2^-14. Shape: (B, 2).
    """

    axes: Exact
    thresholds: Exact
    values: Exact

    def __post_init__(self) -> None:
        _require_codebook(self.axes, "axes of a level")
        count = len(self.axes)
        fits = count <= MAX_AXES and self.thresholds.shape == (count,) and self.values.shape == (count, 2)
        if not fits or _off_grid(self.thresholds):
            msg = (
                f"level fsq: expected 1 to {MAX_AXES} axes with a threshold and two values each, got {count} axes, "
                f"shapes {self.thresholds.shape} and {self.values.shape}; fit or copy the tokenizer again"
            )
            raise TokenizerError(msg)
        self.thresholds.setflags(write=False)
        self.values.setflags(write=False)

    @property
    def kind(self) -> LevelKind:
        """Always `fsq`."""
        return "fsq"

    @property
    def dim(self) -> int:
        """D: dimensions of the input vectors."""
        return int(self.axes.shape[1])

    @property
    def size(self) -> int:
        """V: number of codes."""
        return 1 << len(self.axes)

    def choose(self, residual: Exact) -> npt.NDArray[np.int32]:
        """Encode residuals.

        Args:
            residual: Residuals of the levels before.

                Shape: (N, D).

        Returns:
            Codes.

            Shape: (N,).
        """
        return bit_codes(residual @ self.axes.T > self.thresholds)

    def decode(self, codes: npt.NDArray[np.int32]) -> Exact:
        """Return the point given by each axis's value for its bit."""
        bits = (codes[:, None] >> np.arange(len(self.axes) - 1, -1, -1)) & 1
        points: Exact = self.values[np.arange(len(self.axes)), bits] @ self.axes
        return points

    def arrays(self, number: int) -> dict[str, npt.NDArray[np.generic]]:
        """Return axes, thresholds and values by name."""
        return {
            f"axes_{number:02d}": self.axes.astype(np.float32),
            f"threshold_{number:02d}": self.thresholds,
            f"value_{number:02d}": self.values,
        }


def bit_codes(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Convert bits to codes.

    Args:
        bits: Highest bit first.

            Shape: (..., B).

    Returns:
        Codes.

        Shape: (...).
    """
    codes: npt.NDArray[np.int32] = (bits << np.arange(bits.shape[-1] - 1, -1, -1)).sum(axis=-1, dtype=np.int32)
    return codes


def read_level(kind: str, number: int, arrays: Arrays) -> Level:
    """Build a level from the arrays that its `arrays` returned.

    Args:
        kind: Kind from the artifact's config.
        number: Index of the level, from 0.
        arrays: All arrays by name; may include others.

    Returns:
        The level.

    Raises:
        KeyError: An array is missing.
        TokenizerError: The arrays do not fit each other, or the kind is unknown.
    """

    def take(name: str) -> Exact:
        return arrays[f"{name}_{number:02d}"].astype(np.float64)

    match kind:
        case "kmeans":
            return CentroidLevel(take("codebook"))
        case "psrq":
            return CentroidLevel(take("codebook"), take("prefix"), take("offset"))
        case "fsq":
            return FsqLevel(take("axes"), take("threshold"), take("value"))
    msg = f"level {number}: kind {kind!r} is unknown, expected kmeans, psrq or fsq; use the version that fitted it"
    raise TokenizerError(msg)


def _off_grid(scores: Exact) -> bool:
    return bool(np.any(scores != snap(scores, SCORE_BITS)))


def _require_codebook(codebook: Exact, what: str) -> None:
    require_rows(codebook, codebook.shape[-1], what)
    fits = 1 <= codebook.shape[1] <= MAX_DIM and len(codebook) and np.abs(codebook).max() < COMPONENT_BOUND
    if not fits or not np.array_equal(codebook, snap(codebook, VECTOR_BITS)):
        msg = (
            f"{what}: expected codes of 1 to {MAX_DIM} components below {COMPONENT_BOUND}, "
            f"multiples of 2^-{VECTOR_BITS}, got shape {codebook.shape}; fit or copy the tokenizer again"
        )
        raise TokenizerError(msg)
    codebook.setflags(write=False)
