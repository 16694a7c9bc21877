"""Owns the splice: how an array after a change is made of the array before it and of fresh entries.

A catalogue of a million items changes by hundreds of them at a time, so what stays is copied run by run, at the speed
of memory; only where changes lie so close that the runs are short is every entry looked up by itself.

Shape legend: n = entries before, n' = entries after, f = fresh entries.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]

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
        if (self.dropped.size + self.places.size) * _MIN_RUN > self.size:
            stays, is_old = self._masks
            spliced = np.empty((is_old.size, *old.shape[1:]), dtype=old.dtype)
            if old.ndim == 1:
                spliced[is_old] = old[stays] if self.dropped.size else old
            elif self.size:
                # Places pay for wide entries alone: they take longer to list than narrow ones to copy twice.
                order = np.zeros(is_old.size, dtype=np.intp)
                order[is_old] = np.flatnonzero(stays)
                old.take(order, axis=0, out=spliced, mode="clip")
            spliced[self.fresh] = fresh
            return spliced
        return np.concatenate([(fresh if is_fresh else old)[begin:end] for is_fresh, begin, end in self._runs])

    @cached_property
    def _masks(self) -> tuple[BoolArray, BoolArray]:
        """Which of the old entries stay, and where they stand afterwards. Shape: (n,) and (n',)."""
        stays = np.ones(self.size, dtype=np.bool_)
        stays[self.dropped] = False
        is_old = np.ones(self.size - self.dropped.size + self.fresh.size, dtype=np.bool_)
        is_old[self.fresh] = False
        return stays, is_old

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
