"""Counters of history entries by the source of their SID: how many the served tokenizer version can use."""

from collections.abc import Callable

from sidestream.models.history.view import HistoryView
from sidestream.streams.runtime.metrics import Metrics


def count_histories(metrics: Metrics) -> Callable[[HistoryView], None]:
    """Create the callback that a recommender calls with every history it read.

    Args:
        metrics: Metrics of the worker.

    Returns:
        Callback that counts a history's entries: item in the catalogue, stored SID of the served version, stored SID
        translated by alignment, and dropped because none of these applies.
    """
    # A label lookup costs as much as the count itself.
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
