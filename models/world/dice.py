"""Random integers that are the same on any machine and with any version of numpy.

numpy guarantees the streams of `SeedSequence` and `PCG64`, but not how `Generator` uses them; and floats, logs and
exponentials differ between platforms. So everything here is integer arithmetic on raw 64-bit draws.
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
    """A separate random stream for each (seed, path).

    Args:
        seed: Seed of the world.
        *path: Names and numbers that identify the stream.
    """

    def __init__(self, seed: int, *path: str | int) -> None:
        words = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in path]
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, *words]))
        self._waiting: list[int] = []

    def below(self, bound: int) -> int:
        """Draw uniformly from 0 to bound - 1; the bias is below bound / 2**32."""
        if not self._waiting:
            self._waiting = self._bits.random_raw(BLOCK).tolist()
        return (self._waiting.pop() >> 32) * bound >> 32

    def between(self, low: int, high: int) -> int:
        """Draw from low to high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, permille: int) -> bool:
        """Return True with this probability."""
        return self.below(1_000) < permille

    def pick(self, options: Sequence[T]) -> T:
        """Draw one of the options uniformly."""
        return options[self.below(len(options))]

    def skewed(self, bound: int) -> int:
        """Draw from 0 to bound - 1, small numbers far more often, like popularity."""
        return self.below(self.below(bound) + 1)

    def weighted(self, cumulative: Sequence[int]) -> int:
        """Draw an index with weights given as cumulative sums."""
        return bisect_right(cumulative, self.below(cumulative[-1]))

    def table(self, rows: int, columns: int) -> NDArray[np.uint16]:
        """Draw a matrix of numbers from 0 to 999.

        Shape: (rows, columns).
        """
        raw = self._bits.random_raw(rows * columns)
        return (raw % np.uint64(1_000)).astype(np.uint16).reshape(rows, columns)
