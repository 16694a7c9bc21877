"""Settings of the session lane."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SessionSettings(BaseModel):
    """Deadline, limits and threads for answering session-starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline_ms: int = Field(
        default=250,
        ge=1,
        description="Deadline of an answer, from the fetch of the session-start; then the popularity fallback answers.",
    )
    max_age_ms: int = Field(
        default=60_000,
        ge=0,
        description="Session-starts with an older Kafka timestamp are skipped without an answer, so that current ones "
        "do not wait for them after an outage; 0 to answer all. The age is taken by the worker's clock: if the clock "
        "of a producer is behind by more than this, all of its session-starts are skipped, which the log and "
        "`sidestream_sessions_skipped_total` tell. So are those of an old log replayed with its own timestamps.",
    )
    start: Literal["end", "beginning"] = Field(
        default="end",
        description="Where a partition of session-starts begins that this group has never committed: at its end as of "
        "the first worker's start, or at the beginning of what the topic keeps.",
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
