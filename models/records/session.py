"""`session-starts.v1`: requests for candidates when a listener starts a session; the key is `user_id`."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sidestream.models.records.base import Id, Record
from sidestream.models.records.catalog import Kind
from sidestream.models.records.times import EventAt

Discovery = Literal["any", "familiar", "unfamiliar"]


def _rule(allowed: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return allowed or None


class SessionStart(Record):
    """One request for candidates."""

    session_id: Id
    user_id: Id
    at: EventAt = Field(description="When the session started. Epoch milliseconds UTC.")
    surface: str | None = None
    device: str | None = None
    locale: str | None = None
    market: str | None = Field(default=None, description="Only items that may be played there; null means no rule.")
    languages: Annotated[tuple[str, ...], Field(max_length=50, fail_fast=True), AfterValidator(_rule)] | None = Field(
        default=None,
        description="Only items in one of these languages, or of unknown language; null or an empty list means no "
        "rule.",
    )
    kinds: Annotated[tuple[Kind, ...], Field(fail_fast=True), AfterValidator(_rule)] | None = Field(
        default=None, description="Only items of these kinds; null or an empty list means no rule."
    )
    allow_explicit: bool | None = Field(default=None, description="False excludes explicit items.")
    live_now: bool | None = Field(
        default=None, description="true: only live streams that have not ended; false: none; null means no rule."
    )
    discovery: Discovery = Field(
        default="any", description="familiar: shows or creators from the listener's history; unfamiliar: only others."
    )
    num_candidates: int = Field(default=30, ge=1, le=200)
    exclude: tuple[Id, ...] = Field(default=(), max_length=1_000, fail_fast=True, description="Item ids to exclude.")
    page: int = Field(default=0, ge=0, description="Part of the candidate set's identity.")
