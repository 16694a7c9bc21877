"""Popularity in a replay: listens are counted in log order, and counts take effect at the log's times."""

from sidestream.models.data import ListenRow
from sidestream.streams.popularity.listen_counts import ListenCounts
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.tokenizer.catalogue import CatalogueSnapshot
from sidestream.tokenizer.popularity import Ranking

# The cost of counting is per batch, not per listen.
_BATCH = 4_096


class ReplayPopularity:
    """Counts listens and orders snapshots by them, with a worker's settings and the log's clock.

    A refresh is due at the first session-start after `refresh_s` of log time, so equal logs give equal orders. All
    earlier listens are counted, whereas a worker would use those that were published by then.

    Args:
        settings: Half-life, pace, and what a new item counts.
        new_within_hours: `recommend.new_within_hours`.
    """

    def __init__(self, settings: PopularitySettings, new_within_hours: float) -> None:
        self._settings = settings
        self._counts = ListenCounts(settings.decay)
        self._ranking = Ranking(settings.decay, new_within_hours, settings.fresh_share)
        self._waiting: list[ListenRow] = []
        self._next_at = 0
        self._shown: tuple[CatalogueSnapshot, CatalogueSnapshot] | None = None

    def add(self, listen: ListenRow) -> None:
        """Count the next listen of the log."""
        self._waiting.append(listen)
        if len(self._waiting) >= _BATCH:
            self._count()

    def ranked(self, snapshot: CatalogueSnapshot, at: int) -> CatalogueSnapshot:
        """Order a snapshot.

        Args:
            snapshot: Snapshot from the catalogue.
            at: Log time, UTC epoch ms.

        Returns:
            The ordered snapshot; the same object if nothing has changed.
        """
        if not self._settings.enabled:
            return snapshot
        if at >= self._next_at:
            self._next_at = at + round(self._settings.refresh_s * 1e3)
            self._count()
            self._ranking.update(self._counts.sums(), at)
            self._shown = None
        if self._shown is None or self._shown[0] is not snapshot:
            self._shown = snapshot, self._ranking.ranked(snapshot)
        return self._shown[1]

    def _count(self) -> None:
        self._counts.add(self._waiting)
        self._waiting = []
