"""Current catalogue: applies records, decides when a new snapshot is due, and holds the current one.

Independent of Kafka and the event loop. `apply` and `build` run in one writer thread; `snapshot` may be read from any.
The cost of a build grows with the catalogue, so under a stream of updates builds are spaced by a multiple of their own
duration: a single update is visible after one build, a burst costs a bounded share of one core. If builds take so long
that a change would become visible too late, visibility takes precedence.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice

from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.errors import BadRecord, CatalogueError
from sidestream.streams.kafka.pace import FULL_SPEED, Pace
from sidestream.streams.popularity.current_counts import LivePopularity
from sidestream.streams.runtime.clock import Clock
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import Catalogue, CatalogueSnapshot, CatalogueUpdate
from sidestream.tokenizer.catalogue.frozen import Frozen

_log = get_log(__name__)

KeyValue = tuple[bytes | None, bytes | None]


class RebuildPace:
    """Decides when the next snapshot may be built.

    Args:
        settings: Minimum gap and duty.
        seconds: Monotonic clock in seconds.
    """

    def __init__(self, settings: CatalogueSettings, seconds: Callable[[], float]) -> None:
        self._settings = settings
        self._seconds = seconds
        self._next_s = seconds()

    def wait_s(self) -> float:
        """Return the seconds to wait until the next build; 0 if it may start."""
        return max(0.0, self._next_s - self._seconds())

    def built(self, took_s: float) -> None:
        """Note that a build has just ended; `took_s` is its duration."""
        # A change right after the start of a build waits for its end, the pause and one more build.
        left_s = self._settings.max_visible_ms / 1e3 - 2 * took_s
        gap_s = max(self._settings.min_rebuild_gap_ms / 1e3, min(self._settings.rebuild_duty * took_s, left_s))
        self._next_s = self._seconds() + gap_s


class CurrentCatalogue:
    """Holds the current snapshot and builds the next one.

    Args:
        catalogue: The single-writer catalogue.
        decoder: Decodes records.
        settings: Gaps between builds.
        metrics: Counts records by outcome, times builds.
        clock: Determines expiry.
        seconds: Monotonic clock in seconds.
        popularity: Ranks snapshots by live counts; None to leave them in the order of the model's weights.
        sleep: Sleeps, in seconds, in the writer thread.

    Attributes:
        snapshot: The current snapshot; pin it for the duration of a request.
        settings: Gaps between builds at full speed.
        rebuilds: Decides when the next snapshot may be built.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        decoder: UpdateDecoder,
        settings: CatalogueSettings,
        metrics: Metrics,
        clock: Clock,
        seconds: Callable[[], float] = time.monotonic,
        popularity: LivePopularity | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.rebuilds = RebuildPace(settings, seconds)
        self._pace = FULL_SPEED
        self._sleep = sleep
        self._catalogue = catalogue
        self._decoder = decoder
        self._metrics = metrics
        self._clock = clock
        self._seconds = seconds
        self._popularity = popularity
        self._oldest_unseen_s: float | None = None
        self.snapshot = catalogue.snapshot(now_ms=clock())

    def go_at(self, pace: Pace, settings: CatalogueSettings, metrics: Metrics) -> None:
        """Change the pace; callable from any thread, takes effect with the next piece of work.

        Args:
            pace: Records applied in one piece, and the rest after it.
            settings: Gaps between builds.
            metrics: Metrics to use from now on.
        """
        self._pace = pace
        self.rebuilds = RebuildPace(settings, self._seconds)
        self._metrics = metrics
        metrics.catalogue_items.set(self.snapshot.num_items)

    def num_bytes(self) -> dict[str, int]:
        """Return the memory of the catalogue and its latest snapshot, by part."""
        return self._catalogue.num_bytes()

    def capture(self) -> Frozen:
        """Return the state of everything applied so far, for saving; call it in the writer thread."""
        return self._catalogue.frozen()

    def restore(self, frozen: Frozen) -> None:
        """Restore a saved state; call it in the writer thread, before anything is applied.

        Args:
            frozen: State returned by `capture`.

        Raises:
            CatalogueError: The state does not fit the catalogue; nothing was restored.
        """
        self._catalogue.restore(frozen)

    @property
    def is_stale(self) -> bool:
        """Return whether a new snapshot would differ: records were applied, items expired, or new counts are due."""
        if self._popularity is not None and self._popularity.is_due:
            return True
        return self._oldest_unseen_s is not None or self._clock() >= self.snapshot.next_expiry_at

    def apply(self, records: Iterable[KeyValue], arrived_s: float) -> None:
        """Apply records in order; malformed ones are counted and skipped, because our own tokenizer wrote the topic.

        Args:
            records: Keys and values.
            arrived_s: When they arrived, by the monotonic clock.
        """
        left = iter(records)
        while (pace := self._pace).rest and (piece := list(islice(left, pace.max_records))):
            begun_s = time.perf_counter()
            self._apply_records(piece, arrived_s)
            self._sleep(pace.rest_s(time.perf_counter() - begun_s))
        self._apply_records(left, arrived_s)

    def _apply_records(self, records: Iterable[KeyValue], arrived_s: float) -> None:
        updates: list[CatalogueUpdate] = []
        decode = self._decoder.decode
        for key, value in records:
            try:
                updates.append(decode(key, value))
            except BadRecord as exc:
                self._metrics.catalogue_updates.labels("malformed").inc()
                _log.warning("catalogue record skipped", key=repr(key), reason=exc.reason, detail=exc.detail)
        if updates:
            for outcome, count in Counter(map(_outcome_of, updates)).items():
                self._metrics.catalogue_updates.labels(outcome).inc(count)
            self._apply(updates)
            if self._oldest_unseen_s is None:
                self._oldest_unseen_s = arrived_s

    def build(self, source_offsets: tuple[int, ...] | None = None) -> CatalogueSnapshot:
        """Build a snapshot and make it the current one.

        Args:
            source_offsets: Named in the snapshot: what was applied so far, by partition of the topic.

        Returns:
            The snapshot.
        """
        begun_s = self._seconds()
        now_ms = self._clock()
        snapshot = self._catalogue.snapshot(now_ms, source_offsets)
        if self._popularity is not None:
            snapshot = self._popularity.ranked(snapshot, now_ms)
        # Used by every request: computed once here, not by the first request.
        _ = snapshot.max_children, snapshot.max_bucket
        self.snapshot = snapshot
        ended_s = self._seconds()
        self.rebuilds.built(ended_s - begun_s)
        self._metrics.catalogue_build_seconds.observe(ended_s - begun_s)
        self._metrics.catalogue_items.set(snapshot.num_items)
        if self._oldest_unseen_s is not None:
            self._metrics.catalogue_visible_seconds.observe(max(0.0, ended_s - self._oldest_unseen_s))
            self._oldest_unseen_s = None
        return snapshot

    def _apply(self, updates: list[CatalogueUpdate]) -> None:
        try:
            self._catalogue.apply(updates)
        except CatalogueError as exc:
            if len(updates) > 1:
                # A batch is rejected as a whole if one update does not fit: apply the updates one by one.
                for update in updates:
                    self._apply([update])
                return
            self._metrics.catalogue_updates.labels("refused").inc()
            _log.warning("catalogue update refused", item_id=updates[0].item_id, error=str(exc))


def _outcome_of(update: CatalogueUpdate) -> str:
    if update.facts is None:
        return "removed"
    return "applied" if update.sid is not None else "other_version"
