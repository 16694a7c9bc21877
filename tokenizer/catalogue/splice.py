"""Owns the splice: how an array after a change is made of the array before it and of fresh entries.

A catalogue of a million items changes by hundreds of them at a time, so what stays is copied run by run, at the speed
of memory; where changes lie so close that the runs are short, under a mask.

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
# Entries copied at a time where runs are short: what is on the way stays in a core's cache, in memory in use already.
_BLOCK = 16_384


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
        if (self.dropped.size + self.places.size) * _MIN_RUN <= self.size:
            return np.concatenate([(fresh if is_fresh else old)[begin:end] for is_fresh, begin, end in self._runs])
        stays, is_old = self._masks
        spliced = np.empty((is_old.size, *old.shape[1:]), dtype=old.dtype)
        if old.ndim == 1:
            for here, there in self._blocks:
                spliced[there][is_old[there]] = old[here][stays[here]]
        elif self.size:
            # Under a mask numpy would look up every row by itself, and twice; a list of places pays for wide rows.
            order = np.zeros(is_old.size, dtype=np.intp)
            order[is_old] = np.flatnonzero(stays)
            old.take(order, axis=0, out=spliced, mode="clip")
        spliced[self.fresh] = fresh
        return spliced

    @cached_property
    def _masks(self) -> tuple[BoolArray, BoolArray]:
        """Which of the old entries stay, and where they stand afterwards. Shape: (n,) and (n',)."""
        stays = np.ones(self.size, dtype=np.bool_)
        stays[self.dropped] = False
        is_old = np.ones(self.size - self.dropped.size + self.fresh.size, dtype=np.bool_)
        is_old[self.fresh] = False
        return stays, is_old

    @cached_property
    def _blocks(self) -> list[tuple[slice, slice]]:
        """Cut the old entries into blocks, each with where it stands afterwards, fresh entries included."""
        cuts = np.arange(0, max(1, self.size), _BLOCK)
        starts = (cuts - np.searchsorted(self.dropped, cuts) + np.searchsorted(self.places, cuts)).tolist()
        ends = [*starts[1:], self.size - self.dropped.size + self.places.size]
        here = [slice(cut, cut + _BLOCK) for cut in cuts.tolist()]
        return list(zip(here, map(slice, starts, ends), strict=True))

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
