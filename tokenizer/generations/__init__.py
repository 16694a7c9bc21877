"""Generations: what lies between one tokenizer version and the next, since codebooks are frozen inside a version."""

from tokenizer.generations.aligning import Agreement, CodedBy, align
from tokenizer.generations.alignment import Alignment, load_alignment

__all__ = ["Agreement", "Alignment", "CodedBy", "align", "load_alignment"]
