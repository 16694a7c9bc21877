"""Settings of the importers."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field

from sidestream.models.records.times import EARLIEST_EVENT_AT, LATEST_AT


class ImportSettings(BaseModel):
    """How published data sets are converted to log folders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content_until: date | None = Field(
        default=None,
        description="lastfm: tags are content only if given before this day; if unset, all tags of training events "
        "are. Tags of held-out events never are.",
    )
    min_events: int = Field(default=5, ge=1, description="lastfm: iterated k-core of listeners and artists.")
    max_tags: int = Field(default=12, ge=0, le=64, description="lastfm: number of most frequent tags kept per artist.")
    clock_start_at: int = Field(
        default=1_735_689_600_000,
        ge=EARLIEST_EVENT_AT,
        le=LATEST_AT,
        description="s3rec, amazon18: where the synthetic clock starts (2025-01-01 UTC).",
    )
    sort_memory_mb: int = Field(
        default=256,
        ge=1,
        le=1_048_576,
        description="jsonl, csv, listenbrainz, spotify, movielens, record: memory for sorting; more rows are sorted on "
        "disk, next to the log folder.",
    )
    clock_days: int = Field(
        default=365, ge=1, le=3_650, description="s3rec, amazon18: days over which sequences are spread."
    )
