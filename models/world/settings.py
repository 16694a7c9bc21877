"""Settings of the synthetic audio world."""

from math import isqrt

from pydantic import BaseModel, ConfigDict, Field

from sidestream.models.records.times import EARLIEST_EVENT_AT, LATEST_AT


class WorldSettings(BaseModel):
    """Size and seed of the world; by default the catalogue grows with the square root of the number of listeners."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0, description="Same seed and sizes, same bytes, on any machine.")
    listeners: int = Field(default=400, ge=1, le=2_000_000, description="Number of listeners.")
    days: int = Field(default=21, ge=2, le=366, description="Number of simulated days.")
    start_at: int = Field(
        default=1_767_571_200_000,
        ge=EARLIEST_EVENT_AT,
        le=LATEST_AT,
        description="First midnight, UTC epoch milliseconds (2026-01-05, a Monday).",
    )
    shows: int | None = Field(default=None, ge=1, description="Podcast shows at the start; default 2 sqrt(listeners).")
    artists: int | None = Field(default=None, ge=1, description="Artists at the start; default 3 sqrt(listeners).")
    books: int | None = Field(default=None, ge=1, description="Audiobooks at the start; default sqrt(listeners).")
    live_per_day: int | None = Field(default=None, ge=0, description="Live streams a day; default sqrt(listeners) / 3.")
    tracks_per_artist: int = Field(default=8, ge=1, le=100, description="Tracks of an artist at the start.")
    episodes_per_show: int = Field(default=8, ge=1, le=100, description="Back episodes of a show at the start.")
    parts_per_book: int = Field(default=6, ge=1, le=50, description="Parts of an audiobook.")
    session_start_permille: int = Field(
        default=200, ge=0, le=1_000, description="Share of sessions that request candidates; the last one always does."
    )
    drift_permille: int = Field(default=25, ge=0, le=1_000, description="Chance per session that an interest changes.")

    @property
    def num_shows(self) -> int:
        """Shows at the start."""
        return self.shows or max(12, 2 * isqrt(self.listeners))

    @property
    def num_artists(self) -> int:
        """Artists at the start."""
        return self.artists or max(24, 3 * isqrt(self.listeners))

    @property
    def num_books(self) -> int:
        """Audiobooks at the start."""
        return self.books or max(6, isqrt(self.listeners))

    @property
    def num_live(self) -> int:
        """Live streams a day."""
        return isqrt(self.listeners) // 3 + 1 if self.live_per_day is None else self.live_per_day
