"""Merged counts of all partitions in one worker, and the ranking of its catalogue by them.

Independent of Kafka. `feed` may be called from the event loop; everything else runs in the catalogue's writer thread.
"""

import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from weakref import WeakSet

from sidestream.streams.errors import BadRecord
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import read_key, read_part
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import CatalogueSnapshot
from sidestream.tokenizer.popularity import Counts, Ranking, merge_counts

_log = get_log(__name__)

KeyValue = tuple[bytes | None, bytes | None]


class LivePopularity:
    """Merges the counts of all partitions and ranks snapshots by them.

    Args:
        settings: Half-life, refresh interval, and weight of new items.
        new_within_hours: `recommend.new_within_hours`.
        metrics: Counts records and items.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        settings: PopularitySettings,
        new_within_hours: float,
        metrics: Metrics,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._metrics, self._seconds = settings, metrics, seconds
        self._decay = settings.decay
        self._ranking = Ranking(self._decay, new_within_hours, settings.fresh_share)
        self._inbox: SimpleQueue[KeyValue] = SimpleQueue()
        self._parts: dict[int, dict[int, Counts]] = {}
        self._sums: dict[int, Counts] = {}
        self._next_s = seconds()

    @property
    def is_due(self) -> bool:
        """Return whether the ranking is due for a refresh: new counts, or existing ones that have decayed since."""
        return self._seconds() >= self._next_s and not (self._inbox.empty() and not self._sums)

    def feed(self, records: Iterable[KeyValue]) -> None:
        """Queue records (keys and values) of `item-counts.v1` for the next refresh."""
        for record in records:
            self._inbox.put(record)

    def ranked(self, snapshot: CatalogueSnapshot, now_ms: int) -> CatalogueSnapshot:
        """Return a snapshot ranked by counts, which are refreshed first if due; `now_ms` is UTC epoch ms."""
        if self.is_due:
            self._next_s = self._seconds() + self._settings.refresh_s
            counts = self._merge()
            self._metrics.popularity_items.set(counts.keys.size)
            self._ranking.update(counts, now_ms)
        return self._ranking.ranked(snapshot)

    def _merge(self) -> Counts:
        changed = {part for part in (self._apply(*self._inbox.get()) for _ in range(self._inbox.qsize())) if part >= 0}
        for part in changed:
            # Sorted by partition, although the sums are exact and would be the same in any order.
            of_part = self._parts[part]
            self._sums[part] = merge_counts([of_part[partition] for partition in sorted(of_part)])
        return merge_counts([self._sums[part] for part in sorted(self._sums)])

    def _apply(self, key: bytes | None, value: bytes | None) -> int:
        """Apply one record and return the part that it changes, -1 if none."""
        try:
            partition, part = read_key(key)
            counted = None if value is None else read_part(value)
        except BadRecord as exc:
            self._metrics.popularity_records.labels("malformed").inc()
            _log.warning("counts skipped", key=repr(key), detail=exc.detail)
            return -1
        if part is None:
            return -1
        if counted is not None and counted.half_life_ms != self._decay.half_life_ms:
            self._metrics.popularity_records.labels("other_half_life").inc()
            counted = None
        else:
            self._metrics.popularity_records.labels("applied").inc()
        self._parts.setdefault(part, {})[partition] = Counts.empty() if counted is None else counted.counts
        return part


class CountsHub:
    """Distributes the records of `item-counts.v1` to all catalogues, including ones added later; on the event loop.

    Args:
        settings: Half-life, refresh interval, and weight of new items.
        new_within_hours: `recommend.new_within_hours`.
        metrics: Counts records and items.
    """

    def __init__(self, settings: PopularitySettings, new_within_hours: float, metrics: Metrics) -> None:
        self._settings, self._new_within_hours, self._metrics = settings, new_within_hours, metrics
        self._last: dict[bytes | None, bytes | None] = {}
        self._subscribers: WeakSet[LivePopularity] = WeakSet()

    def subscribe(self) -> LivePopularity:
        """Create the popularity of one more catalogue; it gets all earlier and later records."""
        live = LivePopularity(self._settings, self._new_within_hours, self._metrics)
        live.feed(list(self._last.items()))
        self._subscribers.add(live)
        return live

    def feed(self, records: Iterable[KeyValue]) -> None:
        """Distribute records (keys and values), in offset order."""
        records = list(records)
        self._last.update(records)
        for live in tuple(self._subscribers):
            live.feed(records)
