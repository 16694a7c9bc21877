"""The arithmetic of live items: packed vectors, decay, and a mean that forgets.

Representation vectors are multiples of 2^-14 below 2, so 16 bits hold them exactly. Sums of them, weighted by whole
milliseconds, are exact in float64 and do not depend on the order; running sums are rounded to float32 at every step,
which is what is stored, so that a restart between two steps changes no bit.
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
    """Pack a vector of components below 2 into 16 bits each; those of a representation lose nothing."""
    steps = np.clip(np.rint(vector * _STEPS), -_INT16_MAX, _INT16_MAX)
    return bytes(steps.astype("<i2").tobytes())


def unpack(packed: bytes) -> Float64:
    """Return what `pack` packed. Shape: (D,)."""
    return np.frombuffer(packed, dtype="<i2").astype(np.float64) / _STEPS


def decay(age_ms: float, half_life_s: float) -> float:
    """Return what is left of a weight of one.

    Args:
        age_ms: Age in milliseconds; not negative.
        half_life_s: After so long half is left.

    Returns:
        Between 0 and 1.
    """
    # Beyond 1,000 half-lives a double is 0 anyway, and further on the power would not be computed at all.
    return float(2.0 ** -min(1_000.0, age_ms / (half_life_s * 1e3)))


def unit(vector: npt.NDArray[np.floating]) -> Float64:
    """Scale a vector to length one; zeros stay zeros. Shape: (D,)."""
    scaled: Float64 = unit_rows(vector[None, :], CONTENT_BITS)[0]
    return scaled


def mean_of(vectors: Iterable[tuple[float, Float64]], dim: int) -> tuple[Float64, float]:
    """Weigh vectors against each other.

    Args:
        vectors: Weight and vector.

            Shape: (D,) each.
        dim: D.

    Returns:
        Their mean, zeros without weight, and the sum of the weights.
    """
    total, weight = np.zeros(dim), 0.0
    for share, vector in vectors:
        total += share * vector
        weight += share
    return (total / weight if weight > 0 else total), weight


class Running(NamedTuple):
    """A decayed mean as it is stored.

    Attributes:
        total: Sum of the weighted vectors, float32 little-endian; empty before the first.
        weight: Sum of the weights.
    """

    total: bytes = b""
    weight: float = 0.0

    def mean(self) -> Float64 | None:
        """Return the mean; none before the first vector. Shape: (D,)."""
        if not self.total or self.weight <= 0:
            return None
        return np.frombuffer(self.total, dtype="<f4").astype(np.float64) / self.weight

    def plus(self, vector: Float64, weight: float, kept: float) -> "Running":
        """Take one more vector.

        Args:
            vector: The vector.

                Shape: (D,).
            weight: Its weight now.
            kept: What is left of all before it.

        Returns:
            The mean with it.
        """
        before = np.frombuffer(self.total, dtype="<f4").astype(np.float64) if self.total else 0.0
        total = (before * kept + vector * weight).astype("<f4").tobytes()
        return Running(total, self.weight * kept + weight)
