"""Decayed counts of listens by item: how one listen weighs, how counts are added, what they are at a time.

A listen is never made lighter by the time that passes; a later one is heavier: it weighs 2^(time / half-life), time in
sixteenths of a half-life. All counts of all partitions are then in one unit, adding them is the whole merge, and the
order of two items changes with new listens alone. What people read as a decayed count is the sum divided by what a
listen would weigh now.

Sums are exact, so it does not matter who adds what first or how often a log is cut into batches: a weight is a number
of 9 bits times a power of two, and a sum of such numbers is not rounded as long as its listens lie within
44 - log2(their number) half-lives of each other: a million listens within 24. Beyond that it is off by 2^-53 of itself.

Source: Cormode et al. 2009, "Forward Decay", ICDE, section III (weights by a function of the arrival alone).

Shape legend: n = items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
Float64Array = npt.NDArray[np.float64]

STEPS = 16
_MANTISSA = 2.0**8
# Weights of the times within a half-life, in [1, 2).
_WEIGHTS = tuple(round(2 ** (step / STEPS) * _MANTISSA) / _MANTISSA for step in range(STEPS))


@dataclass(frozen=True)
class Decay:
    """How fast listens lose weight.

    Attributes:
        half_life_ms: After so long a listen counts half.
    """

    half_life_ms: int

    @cached_property
    def step_ms(self) -> int:
        """Return how long all listens weigh the same, at least 1 ms."""
        return max(1, self.half_life_ms // STEPS)

    def at(self, landmark: int) -> int:
        """Return when a landmark begins, UTC epoch ms."""
        return landmark * STEPS * self.step_ms

    def factor(self, landmark: int, now_ms: int) -> float:
        """Return what one listen of a landmark's begin counts now; beyond 1 for a landmark that is still to come."""
        return float(2.0 ** min(1_000.0, max(-1_000.0, (self.at(landmark) - now_ms) / (STEPS * self.step_ms))))


@dataclass(frozen=True, eq=False, slots=True)
class Counts:
    """Decayed counts of some items.

    Attributes:
        landmark: Half-lives from the epoch to the time in whose listens the weights are given.
        keys: Item keys, strictly ascending. Shape: (n,).
        weights: In listens of the landmark's begin. Shape: (n,).
    """

    landmark: int
    keys: UInt64Array
    weights: Float64Array

    @classmethod
    def empty(cls) -> "Counts":
        """Return counts of no item."""
        return cls(0, np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.float64))

    @classmethod
    def from_step(cls, step: int, keys: UInt64Array, listens: npt.NDArray[np.integer]) -> "Counts":
        """Count listens that happened in one step.

        Args:
            step: `at // Decay.step_ms`.
            keys: Items, each once.
                Shape: (n,).
            listens: How many of each.
                Shape: (n,).

        Returns:
            Their counts.
        """
        landmark, place = divmod(step, STEPS)
        order = np.argsort(keys)
        return cls(landmark, keys[order], listens[order].astype(np.float64) * _WEIGHTS[place])

    def scaled_to(self, landmark: int) -> Float64Array:
        """Return the weights in listens of another landmark; a power of two rounds nothing. Shape: (n,)."""
        if landmark == self.landmark:
            return self.weights
        scaled: Float64Array = np.ldexp(self.weights, self.landmark - landmark)
        return scaled

    def between(self, first_key: int, last_key: int) -> "Counts":
        """Return the counts of the items of a range of keys, both ends included."""
        start = int(self.keys.searchsorted(np.uint64(first_key)))
        end = int(self.keys.searchsorted(np.uint64(last_key), side="right"))
        return Counts(self.landmark, self.keys[start:end], self.weights[start:end])

    def without_below(self, least: float, landmark: int) -> "Counts":
        """Leave light items out.

        Args:
            least: In listens of the landmark's begin.
            landmark: For which the weights are given afterwards.

        Returns:
            The others.
        """
        weights = self.scaled_to(landmark)
        stay = weights >= least
        return Counts(landmark, self.keys[stay], weights[stay])


def merge_counts(parts: Sequence[Counts]) -> Counts:
    """Add counts up; in whatever order and grouping, the result is the same.

    Args:
        parts: Counts.

    Returns:
        The sums, by the latest landmark.
    """
    filled = [part for part in parts if part.keys.size]
    if len(filled) < 2:
        return filled[0] if filled else Counts.empty()
    landmark = max(part.landmark for part in filled)
    keys = np.concatenate([part.keys for part in filled])
    weights = np.concatenate([part.scaled_to(landmark) for part in filled])
    # Runs are in order already, which is what a stable sort makes use of.
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    firsts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return Counts(landmark, keys[firsts], np.add.reduceat(weights[order], firsts))
