"""Popularity: exactly mergeable decayed counts of listens, and the ranking of a catalogue by them."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.tokenizer.popularity.counts import Counts, Decay, join_counts, merge_counts
    from sidestream.tokenizer.popularity.ranking import Ranking, popularity_scores

__all__ = ["Counts", "Decay", "Ranking", "join_counts", "merge_counts", "popularity_scores"]

__getattr__ = lazy_exports(
    __name__,
    {
        "counts": ("Counts", "Decay", "join_counts", "merge_counts"),
        "ranking": ("Ranking", "popularity_scores"),
    },
)
