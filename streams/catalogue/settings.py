"""Settings of the catalogue reader."""

from pydantic import BaseModel, ConfigDict, Field


class CatalogueSettings(BaseModel):
    """How fast catalogue changes become visible."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_rebuild_gap_ms: int = Field(
        default=50, ge=1, description="Shortest time between two snapshots, so that a burst becomes one."
    )
    rebuild_duty: float = Field(
        default=2.0, ge=1.0, description="Pause after a build, in multiples of that build's own time."
    )
    max_batch: int = Field(default=5_000, ge=1, description="Records taken at once, mostly while catching up.")
    check_expiry_ms: int = Field(
        default=250, ge=10, le=1_000, description="How often to look for items that have expired."
    )
