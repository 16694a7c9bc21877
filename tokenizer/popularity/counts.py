"""Decayed counts of listens by item (forward decay).

The weight of a listen never decreases; instead, later listens weigh more: 2^(time / half-life), with time in sixteenths
of a half-life. All counts of all partitions are then in one unit, merging is addition, and the order of two items
changes only with new listens. A decayed count as displayed is the sum divided by the weight of a listen made now.

Sums are exact, so the order of addition and the division of a log into batches do not matter: a weight is a 9-bit
number times a power of two, and a sum of such numbers is not rounded as long as its listens are within
44 - log2(number of listens) half-lives of each other: a million listens within 24. Beyond that the relative error is
2^-53.

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
        half_life_ms: Time after which a listen counts half.
    """

    half_life_ms: int

    @cached_property
    def step_ms(self) -> int:
        """Return the length of a step, during which all listens weigh the same; at least 1 ms."""
        return max(1, self.half_life_ms // STEPS)

    def at(self, landmark: int) -> int:
        """Return the start of a landmark, UTC epoch ms."""
        return landmark * STEPS * self.step_ms

    def factor(self, landmark: int, now_ms: int) -> float:
        """Return the decayed weight of a listen made at a landmark's start; above 1 for a landmark in the future."""
        return float(2.0 ** min(1_000.0, max(-1_000.0, (self.at(landmark) - now_ms) / (STEPS * self.step_ms))))


@dataclass(frozen=True, eq=False, slots=True)
class Counts:
    """Decayed counts of a set of items.

    Attributes:
        landmark: Reference time of the weights, in half-lives since the epoch.
        keys: Item keys, strictly ascending. Shape: (n,).
        weights: Counts in units of a listen made at the landmark's start. Shape: (n,).
    """

    landmark: int
    keys: UInt64Array
    weights: Float64Array

    @classmethod
    def empty(cls) -> "Counts":
        """Return empty counts."""
        return cls(0, np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.float64))

    @classmethod
    def from_step(cls, step: int, keys: UInt64Array, listens: npt.NDArray[np.integer]) -> "Counts":
        """Count listens that happened in one step.

        Args:
            step: `at // Decay.step_ms`.
            keys: Distinct item keys.
                Shape: (n,).
            listens: Number of listens of each item.
                Shape: (n,).

        Returns:
            The counts.
        """
        landmark, place = divmod(step, STEPS)
        order = np.argsort(keys)
        return cls(landmark, keys[order], listens[order].astype(np.float64) * _WEIGHTS[place])

    def scaled_to(self, landmark: int) -> Float64Array:
        """Return the weights relative to another landmark, exactly (a power of two). Shape: (n,)."""
        if landmark == self.landmark:
            return self.weights
        scaled: Float64Array = np.ldexp(self.weights, self.landmark - landmark)
        return scaled

    def between(self, first_key: int, last_key: int) -> "Counts":
        """Return the counts of the items in a range of keys, both ends included."""
        start = int(self.keys.searchsorted(np.uint64(first_key)))
        end = int(self.keys.searchsorted(np.uint64(last_key), side="right"))
        return Counts(self.landmark, self.keys[start:end], self.weights[start:end])

    def without_below(self, least: float, landmark: int) -> "Counts":
        """Drop items with small counts.

        Args:
            least: Minimum weight, in units of a listen made at the landmark's start.
            landmark: Landmark of the result.

        Returns:
            The remaining counts.
        """
        weights = self.scaled_to(landmark)
        stay = weights >= least
        return Counts(landmark, self.keys[stay], weights[stay])


def join_counts(parts: Sequence[Counts]) -> Counts:
    """Concatenate counts of disjoint ranges of keys, without the sort of `merge_counts` and its memory.

    Args:
        parts: Counts, all keys of one below all keys of the next.

    Returns:
        All counts, with the latest landmark.
    """
    filled = [part for part in parts if part.keys.size]
    if len(filled) < 2:
        return filled[0] if filled else Counts.empty()
    landmark = max(part.landmark for part in filled)
    keys = np.concatenate([part.keys for part in filled])
    return Counts(landmark, keys, np.concatenate([part.scaled_to(landmark) for part in filled]))


def merge_counts(parts: Sequence[Counts]) -> Counts:
    """Add counts; the result does not depend on order or grouping.

    Args:
        parts: Counts.

    Returns:
        The sums, with the latest landmark.
    """
    joined = join_counts(parts)
    if sum(part.keys.size > 0 for part in parts) < 2:
        return joined
    # The parts are sorted runs, which a stable sort exploits.
    order = np.argsort(joined.keys, kind="stable")
    keys = joined.keys[order]
    firsts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return Counts(joined.landmark, keys[firsts], np.add.reduceat(joined.weights[order], firsts))
