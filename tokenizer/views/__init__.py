"""Views of an item's content (text, segments, precomputed vectors), and their fusion into one content vector."""

from sidestream.tokenizer.views.fusion import Fusion, fit_fusion
from sidestream.tokenizer.views.item import SEGMENT_FIELDS, TEXT_VIEW, ContentSegment, ItemContent, text_items
from sidestream.tokenizer.views.reading import read_views, view_dims

__all__ = [
    "ItemContent",
    "ContentSegment",
    "SEGMENT_FIELDS",
    "text_items",
    "TEXT_VIEW",
    "view_dims",
    "read_views",
    "Fusion",
    "fit_fusion",
]
