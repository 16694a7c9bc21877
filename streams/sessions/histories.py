"""Counts by where the SIDs of listeners' histories came from: how much of them the version that serves can read."""

from collections.abc import Callable

from sidestream.models.history.view import HistoryView
from sidestream.streams.runtime.metrics import Metrics


def count_histories(metrics: Metrics) -> Callable[[HistoryView], None]:
    """Make what a recommender tells of every history it read.

    Args:
        metrics: Where they are counted.

    Returns:
        Counts a history's entries: whose item the catalogue knows, whose stored SID is of the version that serves,
        whose stored SID was translated, and those that were left out because none of this helped.
    """
    # Looking a label up costs as much as the count.
    catalogue, stored, aligned, dropped = (
        metrics.history_entries.labels(outcome) for outcome in ("catalogue", "stored", "aligned", "dropped")
    )

    def count(history: HistoryView) -> None:
        known = int((history.rows >= 0).sum())
        catalogue.inc(known)
        stored.inc(history.rows.size - known - history.aligned)
        aligned.inc(history.aligned)
        dropped.inc(history.dropped)

    return count
