"""Settings of live items: weights and half-lives of their parts, and when the SID may change."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LiveSettings(BaseModel):
    """How a live item's vector is computed, and when its SID is replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(default=30.0, gt=0, description="Length of the window of latest segments.")
    max_window_segments: int = Field(default=64, ge=1, le=1_000, description="Segments kept of a window, newest first.")
    max_segment_s: float = Field(default=600.0, gt=0, description="Longer segments are sent to the dead letters.")
    long_half_life_s: float = Field(
        default=600.0, gt=0, description="Half-life of a segment in the mean of all segments, in stream time."
    )
    listener_half_life_s: float = Field(
        default=300.0, gt=0, description="Half-life of a listen in the listeners' mean."
    )
    history_half_life_s: float = Field(
        default=86_400.0, gt=0, description="Half-life of a listen in the vector of the listener who made it."
    )
    own_weight: float = Field(default=0.15, ge=0, description="Weight of the item's own text: title, host, tags, …")
    window_weight: float = Field(
        default=0.55,
        ge=0,
        description="Weight of a window filled with text; above the sum of the others, current speech decides.",
    )
    long_weight: float = Field(default=0.15, ge=0, description="Weight of the mean of all segments.")
    listener_weight: float = Field(
        default=0.15, ge=0, description="Weight of the listeners' mean, with very many listens."
    )
    listener_prior: float = Field(
        default=10.0, ge=0, description="Number of listens at which the listeners have half of their weight."
    )
    move: float = Field(
        default=0.2,
        ge=0,
        le=2,
        description="The SID is replaced if another is nearer and the vector has moved at least this far (1 - cosine) "
        "from the one that the current SID was chosen for.",
    )
    hold_windows: float = Field(
        default=0.0,
        ge=0,
        description="The SID is also replaced if the same other one stays the nearest for this many windows; 0: a "
        "stream that does not move keeps its SID.",
    )
    publish_s: float = Field(default=2.0, gt=0, description="How often workers publish the listeners of live items.")

    @property
    def window_ms(self) -> float:
        """Length of the window in milliseconds."""
        return self.window_s * 1e3

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if not self.own_weight + self.window_weight + self.long_weight + self.listener_weight:
            msg = "one of own_weight, window_weight, long_weight and listener_weight must be above 0, got 0 for all"
            raise ValueError(msg)
        return self
