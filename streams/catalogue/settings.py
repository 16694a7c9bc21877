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
    max_visible_ms: int = Field(
        default=1_000,
        ge=100,
        description="A change shall be visible within this; where builds take long, the pause after them gives way.",
    )
    max_batch: int = Field(default=5_000, ge=1, description="Records taken at once, mostly while catching up.")
    check_expiry_ms: int = Field(
        default=250, ge=10, le=1_000, description="How often to look for items that have expired."
    )
    save_every_s: float = Field(
        default=600.0,
        ge=0,
        description="How often the catalogue is saved on this disk, from where the next start goes on; 0 for never.",
    )
    save_min_items: int = Field(
        default=20_000, ge=0, description="Smaller catalogues are not saved: they are read from Kafka in a second."
    )
    save_on_stop_s: float = Field(
        default=5.0, ge=0, description="How long a worker that stops may take to save what has changed since."
    )
