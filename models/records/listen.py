"""`listen-events.v1`: one listener's interaction with one item; the key is `user_id`."""

from typing import Literal

from pydantic import Field

from sidestream.models.records.base import Id, Record
from sidestream.models.records.times import EventAt

Signal = Literal["listen", "like", "save", "follow", "share", "skip", "dislike"]


class Listen(Record):
    """One listening event."""

    event_id: Id = Field(description="Unique per event: a repeat of one of a user's last 32 ids is not folded again.")
    user_id: Id
    item_id: Id
    at: EventAt = Field(description="When it happened. Epoch milliseconds UTC.")
    listened_ms: int | None = Field(default=None, ge=0, description="Listened time in milliseconds; null if unknown.")
    duration_ms: int | None = Field(
        default=None, ge=0, description="Duration of the item in milliseconds; null or 0 if unknown."
    )
    signal: Signal = "listen"
    surface: str | None = Field(default=None, description="Part of the product: home, search, library, autoplay, …")
    device: str | None = None
    session_id: str | None = None
