"""Settings of live popularity."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from sidestream.tokenizer.popularity import Decay

_HOUR_MS = 3_600_000


class PopularitySettings(BaseModel):
    """How listens are counted and how counts order the catalogue; the same for all workers of an installation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=True, description="Count listens by item. Off: the model's listens in training order the catalogue."
    )
    half_life_hours: float = Field(
        default=168.0,
        gt=0,
        le=87_600,
        description="After so long a listen counts half; a change starts the counts anew.",
    )
    publish_s: float = Field(default=10.0, gt=0, description="How often a partition's changed counts are published.")
    publish_parts: int = Field(
        default=32,
        ge=1,
        le=256,
        description="How many of a partition's 256 parts are published at a time, in turn: bounds the cost.",
    )
    refresh_s: float = Field(default=10.0, gt=0, description="How often the catalogue is ordered by new counts.")
    fresh_share: float = Field(
        default=1.0,
        ge=0,
        description="A new item (recommend.new_within_hours) counts at least as much as this share of the mean of the "
        "items with listens.",
    )

    @property
    def decay(self) -> "Decay":
        """Return how fast listens lose weight."""
        from sidestream.tokenizer.popularity import Decay  # numpy: not for those who only read settings

        return Decay(round(self.half_life_hours * _HOUR_MS))
