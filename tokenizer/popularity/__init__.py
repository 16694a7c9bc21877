"""Popularity: listens counted with decay, exactly mergeable, and the order that the counts give to a catalogue."""

from sidestream.tokenizer.popularity.counts import Counts, Decay, merged
from sidestream.tokenizer.popularity.ranking import Ranking, popularity_scores

__all__ = ["Counts", "Decay", "Ranking", "merged", "popularity_scores"]
