"""What is known of an item's content, view by view, and how the views become one content vector."""

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
