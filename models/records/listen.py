"""`listen-events.v1`: one thing a listener did with one item; the key is `user_id`."""

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
    listened_ms: int | None = Field(
        default=None, ge=0, description="How long was listened, in milliseconds; null where not known."
    )
    duration_ms: int | None = Field(
        default=None, gt=0, description="How long the item is, in milliseconds; null where not known."
    )
    signal: Signal = "listen"
    surface: str | None = Field(default=None, description="Where in the product: home, search, library, autoplay, …")
    device: str | None = None
    session_id: str | None = None
