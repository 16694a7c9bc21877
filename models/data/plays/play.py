"""One play as an importer returns it, before sessions and split are known."""

import msgspec

from sidestream.models.records import Signal


class Play(msgspec.Struct, array_like=True, gc=False):
    """One interaction of a listener with an item.

    Attributes:
        user_id: Listener.
        item: Name of the item inside the import; the catalogue gives its id.
        at: Time in the log, UTC epoch ms.
        started_at: Start, as far as known; determines sessions.
        ended_at: End, as far as known.
        listened_ms: Listened time.
        duration_ms: Duration of the item.
        signal: Signal of the listen.
        surface: Part of the product.
        device: Device.
        session_id: Session, if the source has one.
        event_id: Id of the event, if the source has one.
        twin: Equal for rows of a listener that report one play twice; None if time and item decide.
        is_day: Whether `at` is a day: equal plays are then repeats, not duplicates.
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
    is_day: bool = False
