"""Conversion of plays in any order to a log folder: deduplication, sessions, held-out plays, and order of rows."""

from sidestream.models.data.plays.builder import FolderBuilder
from sidestream.models.data.plays.damage import RowReport
from sidestream.models.data.plays.holdout import SplitOptions, SplitRule
from sidestream.models.data.plays.items import Items, Words
from sidestream.models.data.plays.play import Play

__all__ = ["Play", "Words", "Items", "RowReport", "SplitOptions", "SplitRule", "FolderBuilder"]
