"""Settings of live popularity."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from sidestream.tokenizer.popularity import Decay

_HOUR_MS = 3_600_000


class PopularitySettings(BaseModel):
    """Counting of listens and ranking of the catalogue by counts; the same for all workers of an installation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=True,
        description="Count listens by item. Off: the catalogue is ordered by the model's training listens.",
    )
    half_life_hours: float = Field(
        default=168.0,
        gt=0,
        le=87_600,
        description="Half-life of a listen's weight; changing it restarts the counts from zero.",
    )
    publish_s: float = Field(
        default=10.0,
        gt=0,
        description="Interval at which a partition publishes the listens that it counted, and after which the totals "
        "follow.",
    )
    publish_parts: int = Field(
        default=32, ge=1, le=256, description="No longer used; still read, so that older configurations stay valid."
    )
    totals_bytes_per_s: int = Field(
        default=65_536,
        ge=1_024,
        description="Bytes per second of totals, on average, of one of up to 4 ranges of items (16 bytes an item). "
        "Every worker reads them all; totals of many items are published less often than every publish_s.",
    )
    refresh_s: float = Field(default=10.0, gt=0, description="Interval at which the catalogue is ranked by new counts.")
    fresh_share: float = Field(
        default=1.0,
        ge=0,
        description="Minimum weight of a new item (recommend.new_within_hours), as a share of the mean weight of items "
        "with listens.",
    )

    @property
    def decay(self) -> "Decay":
        """Return the decay of listen weights."""
        from sidestream.tokenizer.popularity import Decay  # imports numpy: not needed to read settings

        return Decay(round(self.half_life_hours * _HOUR_MS))
