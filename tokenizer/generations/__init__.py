"""Tokenizer generations: comparison of versions, and alignment of SIDs from one version to the next."""

from sidestream.tokenizer.generations.alignment import Alignment, load_alignment
from sidestream.tokenizer.generations.alignment_fit import Agreement, VersionCodes, align
from sidestream.tokenizer.generations.churn import Churn
from sidestream.tokenizer.generations.comparison import Comparison, VersionOnItems, VersionStats, compare

__all__ = [
    "Agreement",
    "Alignment",
    "Churn",
    "VersionCodes",
    "Comparison",
    "VersionOnItems",
    "VersionStats",
    "align",
    "compare",
    "load_alignment",
]
