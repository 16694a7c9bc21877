"""A listener's recent history: its bytes, the pure fold that writes them, the view that the model reads."""

from models.history.erasure import erase, forget, is_erased, may_forget
from models.history.fold import FoldResult, ListenFields, SidLookup, fold
from models.history.layout import MAX_EVENT_IDS, MAX_RING, SIGNALS
from models.history.view import HistoryView, describe, view

__all__ = [
    "FoldResult",
    "HistoryView",
    "ListenFields",
    "MAX_EVENT_IDS",
    "MAX_RING",
    "SIGNALS",
    "SidLookup",
    "describe",
    "erase",
    "fold",
    "forget",
    "is_erased",
    "may_forget",
    "view",
]
