"""Generations: what lies between one tokenizer version and the next, since codebooks are frozen inside a version."""

from tokenizer.generations.aligning import Agreement, CodedBy, align
from tokenizer.generations.alignment import Alignment, load_alignment
from tokenizer.generations.churn import Churn
from tokenizer.generations.comparison import Comparison, VersionOnItems, VersionSheet, compare

__all__ = [
    "Agreement",
    "Alignment",
    "Churn",
    "CodedBy",
    "Comparison",
    "VersionOnItems",
    "VersionSheet",
    "align",
    "compare",
    "load_alignment",
]
