"""Live items: SIDs that follow a stream's segments and listeners, changed only when worthwhile. No I/O."""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.tokenizer.live.audience import Audience, RecentListen, listener_vectors
    from sidestream.tokenizer.live.codebooks import FrozenCodebooks, LiveCodebooks
    from sidestream.tokenizer.live.fold import LiveUpdate, OwnContent, Segment, fold_item, fold_listeners, fold_segment
    from sidestream.tokenizer.live.settings import LiveSettings
    from sidestream.tokenizer.live.state import Listening, LiveState, Partial, Span, View, decode_state, encode_state

__all__ = [
    "Audience",
    "FrozenCodebooks",
    "Listening",
    "LiveCodebooks",
    "LiveSettings",
    "LiveState",
    "OwnContent",
    "Partial",
    "RecentListen",
    "Segment",
    "Span",
    "LiveUpdate",
    "View",
    "decode_state",
    "encode_state",
    "listener_vectors",
    "fold_item",
    "fold_listeners",
    "fold_segment",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "audience": ("Audience", "RecentListen", "listener_vectors"),
        "codebooks": ("FrozenCodebooks", "LiveCodebooks"),
        "fold": ("OwnContent", "Segment", "LiveUpdate", "fold_item", "fold_listeners", "fold_segment"),
        "settings": ("LiveSettings",),
        "state": ("Listening", "LiveState", "Partial", "Span", "View", "decode_state", "encode_state"),
    },
)
