"""Settings of the session lane."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SessionSettings(BaseModel):
    """How session-starts are answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline_ms: int = Field(
        default=250, ge=1, description="From the fetch of a session-start; then the popularity fallback answers."
    )
    max_in_flight: int = Field(
        default=16, ge=1, le=4_096, description="Session-starts worked on at once, over all partitions of a worker."
    )
    max_waiting: int = Field(
        default=512,
        ge=1,
        le=65_536,
        description="Session-starts fetched and not answered; those without a turn in time get the popularity list.",
    )
    wait_for_lane_ms: int = Field(
        default=0,
        ge=0,
        description="Longest wait for the listens that were in the log before a session-start; 0 for none.",
    )
    engine_threads: int | None = Field(
        default=None, ge=1, le=256, description="Threads that call the engine. None: one per core, for a call uses one."
    )
    poll_ms: int = Field(default=500, ge=1, description="Longest wait for records; they wake the lane at once.")
    revoke_wait_ms: int = Field(
        default=3_000, ge=0, description="How long a revocation waits for answers under way; others are answered anew."
    )

    @model_validator(mode="after")
    def _wait_ends_before_the_deadline(self) -> Self:
        if self.wait_for_lane_ms >= self.deadline_ms:
            msg = (
                f"expected wait_for_lane_ms below deadline_ms = {self.deadline_ms}, got {self.wait_for_lane_ms}: no "
                "time would be left for the answer; lower the one or raise the other"
            )
            raise ValueError(msg)
        return self
