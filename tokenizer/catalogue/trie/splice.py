"""The splice: how an array after a change is made of the array before it and of fresh entries.

A catalogue of a million items changes by hundreds of them at a time, so what stays is copied run by run, at the speed
of memory; where changes lie so close that the runs are short, entry by entry.

Shape legend: n = entries before, n' = entries after, f = fresh entries.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]

# Entries a run at least, on average: a run costs what copying some hundred numbers does.
_MIN_RUN = 256


@dataclass(frozen=True, eq=False)
class Splice:
    """A plan to drop some entries and to insert fresh ones, for any array of that many entries.

    Attributes:
        size: Entries before, n.
        dropped: Places of those that go, ascending. Shape: (any,).
        places: Before which old place each fresh entry comes, ascending, n for the end. Shape: (f,).
    """

    size: int
    dropped: Int64Array
    places: Int64Array

    @cached_property
    def fresh(self) -> Int64Array:
        """Return where the fresh entries stand afterwards, ascending. Shape: (f,)."""
        return self.places - np.searchsorted(self.dropped, self.places) + np.arange(self.places.size)

    def moved(self, entries: Int64Array) -> Int64Array:
        """Tell where entries stand afterwards.

        Args:
            entries: Places before.
                Shape: (any,).

        Returns:
            Places afterwards; of a dropped entry the place of the next one.
            Shape: (any,).
        """
        return entries - np.searchsorted(self.dropped, entries) + np.searchsorted(self.places, entries, side="right")

    def applied(self, old: npt.NDArray[Any], fresh: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Carry the plan out.

        Args:
            old: Entries before.
                Shape: (n, ...).
            fresh: Fresh entries; they take the type of the old ones.
                Shape: (f, ...).

        Returns:
            A new array.
            Shape: (n', ...).
        """
        fresh = fresh.astype(old.dtype, copy=False)
        if (self.dropped.size + self.places.size) * _MIN_RUN <= self.size:
            return np.concatenate([(fresh if is_fresh else old)[begin:end] for is_fresh, begin, end in self._runs])
        # Nothing can be taken from an empty array, not even for a fresh entry to overwrite.
        spliced = old.take(self._order, axis=0, mode="clip") if self.size else np.empty_like(fresh)
        spliced[self.fresh] = fresh
        return spliced

    def offsets(self, old: Int32Array, lengths: IntArray) -> Int32Array:
        """Make the offsets of ranges afterwards of those before.

        Args:
            old: Where ranges began and ended.
                Shape: (n + 1,).
            lengths: Of fresh ranges.
                Shape: (f,).

        Returns:
            Where they begin and end afterwards.
            Shape: (n' + 1,).
        """
        lost = np.append(0, np.cumsum(old[self.dropped + 1] - old[self.dropped]))
        won = np.append(0, np.cumsum(lengths))
        by_place, runs = self._cuts
        steps = np.concatenate((np.diff(won), -np.diff(lost)))[by_place]
        offsets = np.empty(runs.sum() + 1, dtype=np.int32)
        if self.size:
            old[:-1].take(self._order, mode="clip", out=offsets[:-1])
        offsets[:-1] += _risen(steps, runs)
        offsets[self.fresh] = old[self.places] - lost[np.searchsorted(self.dropped, self.places)] + won[:-1]
        offsets[-1] = old[-1] - lost[-1] + won[-1]
        return offsets

    @cached_property
    def _cuts(self) -> tuple[Int64Array, Int64Array]:
        """From where on old entries stand a place later (fresh ones) or earlier (dropped ones), and the runs between.

        Returns:
            The order of fresh entries and, behind them, dropped ones; entries afterwards before, between and behind.
            Shape: (c,) and (c + 1,).
        """
        cuts = np.concatenate((self.fresh, self.moved(self.dropped)))
        by_place = np.argsort(cuts, kind="stable")
        size = self.size - self.dropped.size + self.places.size
        return by_place, np.diff(cuts[by_place], prepend=0, append=size)

    @cached_property
    def _order(self) -> Int64Array:
        """Which old entry stands where afterwards; any one where a fresh one will. Shape: (n',)."""
        by_place, runs = self._cuts
        steps = np.repeat((-1, 1), (self.places.size, self.dropped.size))[by_place]
        order = np.arange(runs.sum())
        order += _risen(steps, runs)
        return order

    @cached_property
    def _runs(self) -> list[tuple[bool, int, int]]:
        """Runs of the fresh entries and of the old ones, in the order in which they stand afterwards."""
        cuts = np.unique(np.concatenate((self.places, self.dropped, self.dropped + 1, [0, self.size])))
        goes = np.zeros(cuts.size, dtype=np.bool_)
        goes[np.searchsorted(cuts, self.dropped)] = True
        firsts = np.searchsorted(self.places, cuts).tolist()
        lasts = np.searchsorted(self.places, cuts, side="right").tolist()
        ends = [*cuts[1:].tolist(), self.size]
        runs = [(False, 0, 0)]
        for begin, end, goes_here, first, last in zip(cuts.tolist(), ends, goes.tolist(), firsts, lasts, strict=True):
            if last > first:
                runs.append((True, first, last))
            if end > begin and not goes_here:
                runs.append((False, begin, end))
        return runs


def _risen(steps: IntArray, runs: Int64Array) -> Int32Array:
    """Give every entry of each run the sum of the steps before its run. Shape: steps (c,), runs (c + 1,)."""
    # Narrow numbers: half of the cost are fresh pages of memory for what is thrown away at once.
    return np.repeat(np.cumsum(np.append(0, steps)).astype(np.int32), runs)
