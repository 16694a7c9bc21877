"""Random integers that are the same on any machine and under any numpy.

numpy promises the stream of `SeedSequence` and `PCG64` for ever, but not what `Generator` makes of it; and floats, logs
and exponentials differ between platforms. So everything here is integer arithmetic on raw 64-bit draws.
"""

import zlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

BLOCK = 4_096


class Dice:
    """A stream of draws of its own for each (seed, path).

    Args:
        seed: Seed of the world.
        *path: Names and numbers that tell this stream from others.
    """

    def __init__(self, seed: int, *path: str | int) -> None:
        words = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in path]
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, *words]))
        self._waiting: list[int] = []

    def below(self, bound: int) -> int:
        """Draw from 0 to bound - 1; the bias is below bound / 2**32."""
        if not self._waiting:
            self._waiting = self._bits.random_raw(BLOCK).tolist()
        return (self._waiting.pop() >> 32) * bound >> 32

    def between(self, low: int, high: int) -> int:
        """Draw from low to high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, permille: int) -> bool:
        """Draw whether something of this probability happens."""
        return self.below(1_000) < permille

    def pick(self, options: Sequence[T]) -> T:
        """Draw one of the options, each alike."""
        return options[self.below(len(options))]

    def skewed(self, bound: int) -> int:
        """Draw from 0 to bound - 1, small numbers far more often, as popularity goes."""
        return self.below(self.below(bound) + 1)

    def weighted(self, cumulative: Sequence[int]) -> int:
        """Draw an index by weights given as their running sums."""
        return bisect_right(cumulative, self.below(cumulative[-1]))

    def table(self, rows: int, columns: int) -> NDArray[np.uint16]:
        """Draw numbers from 0 to 999.

        Shape: (rows, columns).
        """
        raw = self._bits.random_raw(rows * columns)
        return (raw % np.uint64(1_000)).astype(np.uint16).reshape(rows, columns)
