"""CSR arrays: listing the entries of ranges, and splicing entries in and out.

A catalogue of a million items changes by some hundred items at a time, so the unchanged entries are copied run by run,
at the speed of memory; entry by entry where changes are so close together that the runs are short.

Shape legend: n = entries before, n' = entries after, f = fresh (inserted) entries.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
IntArray = npt.NDArray[np.integer]

# Shortest average run: the overhead of a run equals copying some hundred numbers.
_MIN_RUN = 256


@dataclass(frozen=True, eq=False)
class Splice:
    """A plan to drop entries and insert fresh ones, applicable to any array with that many entries.

    Attributes:
        size: Entries before, n.
        dropped: Positions of the entries to drop, ascending. Shape: (any,).
        places: Old position before which each fresh entry is inserted, ascending, n for the end. Shape: (f,).
    """

    size: int
    dropped: Int64Array
    places: Int64Array

    @cached_property
    def fresh(self) -> Int64Array:
        """Return the positions of the fresh entries afterwards, ascending. Shape: (f,)."""
        return self.places - np.searchsorted(self.dropped, self.places) + np.arange(self.places.size)

    def new_places(self, entries: Int64Array) -> Int64Array:
        """Translate positions.

        Args:
            entries: Positions before.
                Shape: (any,).

        Returns:
            Positions afterwards; for a dropped entry the position of the next one.
            Shape: (any,).
        """
        return entries - np.searchsorted(self.dropped, entries) + np.searchsorted(self.places, entries, side="right")

    def apply(self, old: npt.NDArray[Any], fresh: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Apply the plan to an array.

        Args:
            old: Entries before.
                Shape: (n, ...).
            fresh: Fresh entries, cast to the type of the old ones.
                Shape: (f, ...).

        Returns:
            A new array.
            Shape: (n', ...).
        """
        fresh = fresh.astype(old.dtype, copy=False)
        if (self.dropped.size + self.places.size) * _MIN_RUN <= self.size:
            return np.concatenate([(fresh if is_fresh else old)[begin:end] for is_fresh, begin, end in self._runs])
        # `take` fails on an empty array, even for entries that are overwritten afterwards.
        spliced = old.take(self._order, axis=0, mode="clip") if self.size else np.empty_like(fresh)
        spliced[self.fresh] = fresh
        return spliced

    def offsets(self, old: Int32Array, lengths: IntArray) -> Int32Array:
        """Apply the plan to the offsets of ranges.

        Args:
            old: Offsets before.
                Shape: (n + 1,).
            lengths: Lengths of the fresh ranges.
                Shape: (f,).

        Returns:
            Offsets afterwards.
            Shape: (n' + 1,).
        """
        removed = np.append(0, np.cumsum(old[self.dropped + 1] - old[self.dropped]))
        added = np.append(0, np.cumsum(lengths))
        by_place, runs = self._cuts
        steps = np.concatenate((np.diff(added), -np.diff(removed)))[by_place]
        offsets = np.empty(runs.sum() + 1, dtype=np.int32)
        if self.size:
            old[:-1].take(self._order, mode="clip", out=offsets[:-1])
        offsets[:-1] += _cumulative_steps(steps, runs)
        offsets[self.fresh] = old[self.places] - removed[np.searchsorted(self.dropped, self.places)] + added[:-1]
        offsets[-1] = old[-1] - removed[-1] + added[-1]
        return offsets

    @cached_property
    def _cuts(self) -> tuple[Int64Array, Int64Array]:
        """Positions from which old entries are shifted by one (later at fresh, earlier at dropped entries), and runs.

        Returns:
            The order of the fresh entries followed by the dropped ones; the lengths of the runs around them.
            Shape: (c,) and (c + 1,).
        """
        cuts = np.concatenate((self.fresh, self.new_places(self.dropped)))
        by_place = np.argsort(cuts, kind="stable")
        size = self.size - self.dropped.size + self.places.size
        return by_place, np.diff(cuts[by_place], prepend=0, append=size)

    @cached_property
    def _order(self) -> Int64Array:
        """Old entry at each position afterwards; arbitrary at positions of fresh entries. Shape: (n',)."""
        by_place, runs = self._cuts
        steps = np.repeat((-1, 1), (self.places.size, self.dropped.size))[by_place]
        order = np.arange(runs.sum())
        order += _cumulative_steps(steps, runs)
        return order

    @cached_property
    def _runs(self) -> list[tuple[bool, int, int]]:
        """Runs of fresh and of old entries, in their order afterwards."""
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


def _cumulative_steps(steps: IntArray, runs: Int64Array) -> Int32Array:
    """Return, for every entry, the sum of the steps before its run. Shape: steps (c,), runs (c + 1,)."""
    # int32, since half of the cost is new memory pages for a temporary array.
    return np.repeat(np.cumsum(np.append(0, steps)).astype(np.int32), runs)


def ranges(offsets: IntArray, parents: IntArray) -> tuple[Int64Array, Int64Array]:
    """List the children of nodes, node after node.

    Args:
        offsets: Offsets of the children of all nodes.
            Shape: (number of nodes + 1,).
        parents: Nodes whose children to list.
            Shape: (n,).

    Returns:
        The children, and the position of each node's first child among them.
        Shape: (k,) and (n,).
    """
    starts = offsets[parents].astype(np.int64)
    lengths = offsets[parents + 1] - starts
    firsts = np.cumsum(lengths) - lengths
    return np.repeat(starts - firsts, lengths) + np.arange(lengths.sum()), firsts


def ranks(places: IntArray, size: int) -> Int64Array:
    """Invert a list of positions.

    Args:
        places: Distinct positions.
            Shape: (k,).
        size: Length of the array that the positions refer to.

    Returns:
        The index of each position in `places`, -1 for all others; the extra last entry makes index -1 yield -1.
        Shape: (size + 1,).
    """
    numbers = np.full(size + 1, -1, dtype=np.int64)
    numbers[places] = np.arange(places.size)
    return numbers
