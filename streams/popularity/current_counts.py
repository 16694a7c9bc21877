"""Total counts in one worker, and the ranking of its catalogue by them.

Independent of Kafka. `feed` may be called from the event loop; everything else runs in the catalogue's writer thread.
"""

import time
from collections.abc import Callable, Iterable
from threading import Lock
from weakref import WeakSet

from sidestream.streams.errors import BadRecord
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import read_part, read_total_key
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import CatalogueSnapshot
from sidestream.tokenizer.popularity import Counts, Ranking, join_counts

_log = get_log(__name__)

KeyValue = tuple[bytes | None, bytes | None]


class LivePopularity:
    """Ranks snapshots by the totals of all items.

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
        self._lock = Lock()
        # Only the last value of each key: a worker that starts reads every total that is not compacted yet.
        self._inbox: dict[bytes | None, bytes | None] = {}
        # The counts are views of the values, which all catalogues of a worker share.
        self._totals: dict[int, Counts] = {}
        self._next_s = seconds()

    @property
    def is_due(self) -> bool:
        """Return whether the ranking is due for a refresh: new counts, or existing ones that have decayed since."""
        return self._seconds() >= self._next_s and bool(self._inbox or self._totals)

    def feed(self, records: Iterable[KeyValue]) -> None:
        """Queue records (keys and values) of `item-count-totals.v1` for the next refresh."""
        with self._lock:
            self._inbox.update(records)

    def ranked(self, snapshot: CatalogueSnapshot, now_ms: int) -> CatalogueSnapshot:
        """Return a snapshot ranked by counts, which are refreshed first if due; `now_ms` is UTC epoch ms."""
        if self.is_due:
            self._next_s = self._seconds() + self._settings.refresh_s
            counts = self._merge()
            self._metrics.popularity_items.set(counts.keys.size)
            self._ranking.update(counts, now_ms)
        return self._ranking.ranked(snapshot)

    def _merge(self) -> Counts:
        with self._lock:
            inbox, self._inbox = self._inbox, {}
        for key, value in inbox.items():
            self._apply(key, value)
        return join_counts([self._totals[part] for part in sorted(self._totals)])

    def _apply(self, key: bytes | None, value: bytes | None) -> None:
        try:
            part = read_total_key(key)
            counted = None if value is None else read_part(value)
        except BadRecord as exc:
            self._metrics.popularity_records.labels("malformed").inc()
            _log.warning("counts skipped", key=repr(key), detail=exc.detail)
            return
        is_ours = counted is None or counted.half_life_ms == self._decay.half_life_ms
        self._metrics.popularity_records.labels("applied" if is_ours else "other_half_life").inc()
        if counted is None or not is_ours:
            self._totals.pop(part, None)
        else:
            self._totals[part] = counted.counts


class CountsHub:
    """Distributes the records of `item-count-totals.v1` to all catalogues, also to later ones; on the event loop.

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
