"""Settings of the catalogue reader."""

from pydantic import BaseModel, ConfigDict, Field


class CatalogueSettings(BaseModel):
    """Visibility of catalogue changes, and local saves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_rebuild_gap_ms: int = Field(
        default=50, ge=1, description="Shortest time between two snapshots, so that a burst of changes gives one."
    )
    rebuild_duty: float = Field(
        default=2.0, ge=1.0, description="Pause after a build, in multiples of that build's own time."
    )
    max_visible_ms: int = Field(
        default=1_000,
        ge=100,
        description="Target for a change to become visible; if builds take long, the pause after them is shortened.",
    )
    max_batch: int = Field(default=5_000, ge=1, description="Records applied in one batch, mostly while catching up.")
    check_expiry_ms: int = Field(default=250, ge=10, le=1_000, description="How often to check for expired items.")
    save_every_s: float = Field(
        default=600.0,
        ge=0,
        description="How often the catalogue is saved on this disk, for the next start; 0 to never save it.",
    )
    save_min_items: int = Field(
        default=20_000, ge=0, description="Smaller catalogues are not saved: reading them from Kafka takes a second."
    )
    save_on_stop_s: float = Field(
        default=5.0, ge=0, description="Time limit for a stopping worker to save recent changes."
    )
