"""`session-starts.v1`: a listener opens the app and wants candidates; the key is `user_id`."""

from typing import Literal

from pydantic import Field

from models.records.base import AtMs, Id, Record

Discovery = Literal["any", "familiar", "unfamiliar"]


class SessionStart(Record):
    """One request for candidates."""

    session_id: Id
    user_id: Id
    at: AtMs
    surface: str | None = None
    device: str | None = None
    locale: str | None = None
    market: str | None = Field(default=None, description="Only items that may be played there; null means no rule.")
    discovery: Discovery = Field(
        default="any", description="familiar: shows or creators from the listener's history; unfamiliar: only others."
    )
    num_candidates: int = Field(default=30, ge=1, le=200)
    exclude: tuple[Id, ...] = Field(default=(), max_length=1_000, description="Item ids that must not come back.")
    page: int = Field(default=0, ge=0, description="Part of the candidate set's identity.")
