"""One play as an importer hands it on, before sessions and split are known."""

import msgspec

from sidestream.models.records import Signal


class Play(msgspec.Struct, array_like=True, gc=False):
    """One thing a listener did with one item.

    Attributes:
        user_id: Listener.
        item: Name of the item inside the import; the catalogue gives its id.
        at: What stands in the log, UTC epoch ms.
        started_at: When it began, as far as is known; sessions go by it.
        ended_at: When it ended, as far as is known.
        listened_ms: How long was listened.
        duration_ms: How long the item is.
        signal: What the listener did.
        surface: Where in the product.
        device: On what.
        session_id: Session, where the source names one.
        event_id: Id of the event, where the source has one.
        twin: Equal for rows of a listener that report one play twice; None where time and item decide.
    """

    user_id: str
    item: str
    at: int
    started_at: int
    ended_at: int
    listened_ms: int | None = None
    duration_ms: int | None = None
    signal: Signal = "listen"
    surface: str | None = None
    device: str | None = None
    session_id: str | None = None
    event_id: str | None = None
    twin: str | None = None
