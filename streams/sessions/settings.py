"""Settings of the session lane."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SessionSettings(BaseModel):
    """Deadline, limits and threads for answering session-starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline_ms: int = Field(
        default=250,
        ge=1,
        description="Deadline of an answer, from the fetch of the session-start; then the popularity fallback answers.",
    )
    max_in_flight: int = Field(
        default=16, ge=1, le=4_096, description="Session-starts answered concurrently, over all partitions of a worker."
    )
    max_waiting: int = Field(
        default=512,
        ge=1,
        le=65_536,
        description="Session-starts fetched and not answered; those not admitted in time get the fallback.",
    )
    wait_for_lane_ms: int = Field(
        default=0,
        ge=0,
        description="Longest wait for the listens that were in the log before a session-start; 0 to not wait.",
    )
    engine_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Threads that call the engine; unset: one per core, since a call uses one core.",
    )
    poll_ms: int = Field(default=500, ge=1, description="Timeout of one poll; new records end it at once.")
    revoke_wait_ms: int = Field(
        default=3_000,
        ge=0,
        description="How long a revocation waits for answers in flight; the next owner answers the others again.",
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
