"""Vector arithmetic of live items: packed vectors, decay, and decayed means.

Representation vectors are multiples of 2^-14 below 2, so 16 bits represent them exactly. Sums of them, weighted by
integer milliseconds, are exact in float64 and independent of the order; decayed sums are rounded to float32 at every
step, as they are stored, so that a restart between two steps changes no bit.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sidestream.tokenizer.arrays.grid import CONTENT_BITS, VECTOR_BITS, unit_rows

Float64 = npt.NDArray[np.float64]

_STEPS = float(2**VECTOR_BITS)
_INT16_MAX = 2**15 - 1


def pack(vector: npt.NDArray[np.floating]) -> bytes:
    """Pack a vector with components below 2 into 16 bits each; lossless for representation vectors."""
    steps = np.clip(np.rint(vector * _STEPS), -_INT16_MAX, _INT16_MAX)
    return bytes(steps.astype("<i2").tobytes())


def unpack(packed: bytes) -> Float64:
    """Return the vector that `pack` packed. Shape: (D,)."""
    return np.frombuffer(packed, dtype="<i2").astype(np.float64) / _STEPS


def decay(age_ms: float, half_life_s: float) -> float:
    """Return the factor, from 0 to 1, by which a weight has decayed at a non-negative age."""
    # Beyond 1,000 half-lives the factor is practically 0; the cap keeps the exponent in range.
    return float(2.0 ** -min(1_000.0, age_ms / (half_life_s * 1e3)))


def unit(vector: npt.NDArray[np.floating]) -> Float64:
    """Scale a vector to unit length; zeros stay zeros. Shape: (D,)."""
    scaled: Float64 = unit_rows(vector[None, :], CONTENT_BITS)[0]
    return scaled


def weighted_mean(vectors: Iterable[tuple[float, Float64]], dim: int) -> tuple[Float64, float]:
    """Return the weighted mean of vectors.

    Args:
        vectors: Pairs of weight and vector.

            Shape: (D,) each.
        dim: D.

    Returns:
        The mean, zeros without weight, and the sum of the weights.
    """
    total, weight = np.zeros(dim), 0.0
    for share, vector in vectors:
        total += share * vector
        weight += share
    return (total / weight if weight > 0 else total), weight


class DecayedMean(NamedTuple):
    """A decayed mean in its stored form.

    Attributes:
        total: Sum of the weighted vectors, float32 little-endian; empty before the first.
        weight: Sum of the weights.
    """

    total: bytes = b""
    weight: float = 0.0

    def mean(self) -> Float64 | None:
        """Return the mean; None before the first vector. Shape: (D,)."""
        if not self.total or self.weight <= 0:
            return None
        return np.frombuffer(self.total, dtype="<f4").astype(np.float64) / self.weight

    def with_vector(self, vector: Float64, weight: float, kept: float) -> "DecayedMean":
        """Return the mean after adding a vector.

        Args:
            vector: The vector.

                Shape: (D,).
            weight: Weight of the vector.
            kept: Factor by which all previous weights have decayed.

        Returns:
            The new mean.
        """
        before = np.frombuffer(self.total, dtype="<f4").astype(np.float64) if self.total else 0.0
        total = (before * kept + vector * weight).astype("<f4").tobytes()
        return DecayedMean(total, self.weight * kept + weight)
