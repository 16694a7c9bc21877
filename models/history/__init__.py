"""User state: the byte layout of a listener's history, the fold that updates it, and the view that the model reads."""

from sidestream.models.history.blocks import block_key, block_prefix, split_block_key
from sidestream.models.history.erasure import (
    Erasure,
    erase,
    erase_all,
    expire,
    forget,
    is_erased,
    is_idle,
    keeps_erased,
    may_forget,
)
from sidestream.models.history.fold import FoldResult, ListenFields, SidLookup, fold
from sidestream.models.history.layout import MAX_EVENT_IDS, MAX_RING, SIGNALS
from sidestream.models.history.long_history import HistoryEvent, history
from sidestream.models.history.rebase import rebase
from sidestream.models.history.view import HistoryView, describe, view, view_of_items

__all__ = [
    "Erasure",
    "FoldResult",
    "HistoryEvent",
    "HistoryView",
    "ListenFields",
    "MAX_EVENT_IDS",
    "MAX_RING",
    "SIGNALS",
    "SidLookup",
    "describe",
    "block_key",
    "block_prefix",
    "erase",
    "erase_all",
    "expire",
    "fold",
    "forget",
    "history",
    "is_erased",
    "is_idle",
    "keeps_erased",
    "may_forget",
    "split_block_key",
    "rebase",
    "view",
    "view_of_items",
]
