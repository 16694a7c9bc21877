"""Decayed counts of listens by item. No I/O; the clock of a worker only bounds what is dated ahead (`ahead`).

Only listens with a positive signal count (`models.records.signals`): a skip or a dislike does not make an item popular.
A duplicate event counts again: duplicates are not detected here, and they are rare.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter

import numpy as np

from sidestream.models.data.rows import ListenRow
from sidestream.models.records.signals import POSITIVE_SIGNALS
from sidestream.streams.popularity.ahead import AheadGuard
from sidestream.tokenizer.popularity import Counts, Decay, merge_counts
from sidestream.tokenizer.sid import remembered_item_key

_AT_OF, _ITEM_OF = attrgetter("at"), attrgetter("item_id")
# Items that are hashed and sorted at once, and such runs that are merged at once: each blocks the event loop for 1 to
# 3 ms, and up to ten times as long where other processes use the cores.
_MAX_FRESH, _MAX_RUNS = 4_096, 16


class ListenCounts:
    """Sums of listens.

    Args:
        decay: Decay of the weights.
        guard: Leaves out listens that are dated ahead; None counts all.

    Attributes:
        num_listens: Number of listens that were counted.
    """

    def __init__(self, decay: Decay, guard: AheadGuard | None = None) -> None:
        self.num_listens = 0
        self._decay, self._guard = decay, guard
        # By time step and item id; moved to `_runs` when it has become large, or when the sums are needed.
        self._fresh: dict[int, Counter[str]] = {}
        self._runs: list[Counts] = []

    def add(self, listens: Iterable[ListenRow]) -> None:
        """Count listens."""
        # The filter, the times and the counter run once per listen: 0.15 µs in total.
        counted = [listen for listen in listens if listen.signal in POSITIVE_SIGNALS]
        ats = np.fromiter(map(_AT_OF, counted), dtype=np.int64, count=len(counted))
        if counted and self._guard is not None and (newest := int(ats.max())) > (latest := self._guard.latest_at()):
            counted, is_ahead = [listen for listen in counted if listen.at <= latest], ats > latest
            self._guard.left_out(int(is_ahead.sum()), newest)
            ats = ats[~is_ahead]
        if not counted:
            return
        self.num_listens += len(counted)
        steps = ats // self._decay.step_ms
        first, last = int(steps.min()), int(steps.max())
        if first == last:
            self._count(first, map(_ITEM_OF, counted))
            return
        for step in np.unique(steps).tolist():
            self._count(step, [counted[place].item_id for place in np.flatnonzero(steps == step).tolist()])

    def merge(self, others: Sequence[Counts], num_listens: int = 0) -> None:
        """Add sums made elsewhere, of that many listens."""
        self.num_listens += num_listens
        self._runs = [merge_counts([*self._runs, *others])]

    def sums(self) -> Counts:
        """Return all counts by item key."""
        for step in list(self._fresh):
            self._sort_fresh(step)
        self.merge(())
        return self._runs[0]

    def _count(self, step: int, items: Iterable[str]) -> None:
        fresh = self._fresh.setdefault(step, Counter())
        fresh.update(items)
        if len(fresh) > _MAX_FRESH:
            self._sort_fresh(step)

    def _sort_fresh(self, step: int) -> None:
        fresh = self._fresh.pop(step)
        keys = np.fromiter(map(remembered_item_key, fresh), dtype=np.uint64, count=len(fresh))
        listens = np.fromiter(fresh.values(), dtype=np.int64, count=len(fresh))
        self._runs.append(Counts.from_step(step, keys, listens))
        if len(self._runs) > _MAX_RUNS:
            self.merge(())
