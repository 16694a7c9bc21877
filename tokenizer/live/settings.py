"""Settings of live items: what of a stream counts, for how long, and when its SID may change."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LiveSettings(BaseModel):
    """How a live item is made into a vector, and when it gets another SID."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(default=30.0, gt=0, description="Segments that ended so long ago at most are its window.")
    max_window_segments: int = Field(default=64, ge=1, le=1_000, description="Segments kept of a window, newest first.")
    max_segment_s: float = Field(default=600.0, gt=0, description="Longer segments are dead letters.")
    long_half_life_s: float = Field(
        default=600.0, gt=0, description="Half-life of a segment in the mean of all segments, in time of the stream."
    )
    listener_half_life_s: float = Field(
        default=300.0, gt=0, description="Half-life of a listen in the listeners' mean."
    )
    history_half_life_s: float = Field(
        default=86_400.0, gt=0, description="Half-life of a listen in the vector of the listener who made it."
    )
    own_weight: float = Field(default=0.15, ge=0, description="Weight of the item's own words: title, host, tags, …")
    window_weight: float = Field(
        default=0.55,
        ge=0,
        description="Weight of a window full of words; above all others together, what is said now decides.",
    )
    long_weight: float = Field(default=0.15, ge=0, description="Weight of the mean of all segments.")
    listener_weight: float = Field(default=0.15, ge=0, description="Weight of the listeners' mean, of very many.")
    listener_prior: float = Field(
        default=10.0, ge=0, description="So many listens give the listeners half of their weight."
    )
    move: float = Field(
        default=0.2,
        ge=0,
        le=2,
        description="Another SID takes over where it is nearer and the vector is so far from the one that the present "
        "SID was chosen for: 1 - cosine.",
    )
    hold_windows: float = Field(
        default=0.0,
        ge=0,
        description="Or where one and the same stayed the nearest for so many windows; 0: a stream that does not move "
        "keeps its SID.",
    )
    publish_s: float = Field(default=2.0, gt=0, description="How often workers tell who listens to live items.")

    @property
    def window_ms(self) -> float:
        """The window in milliseconds."""
        return self.window_s * 1e3

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if not self.own_weight + self.window_weight + self.long_weight + self.listener_weight:
            msg = "one of own_weight, window_weight, long_weight and listener_weight must be above 0, got 0 for all"
            raise ValueError(msg)
        return self
