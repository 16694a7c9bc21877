"""Settings of the session lane."""

from pydantic import BaseModel, ConfigDict, Field


class SessionSettings(BaseModel):
    """How session-starts are answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline_ms: int = Field(
        default=250, ge=1, description="From the fetch of a session-start; then the popularity fallback answers."
    )
    max_in_flight: int = Field(
        default=16, ge=1, le=4_096, description="Session-starts worked on at once, over all partitions of a worker."
    )
    engine_threads: int | None = Field(
        default=None, ge=1, le=256, description="Threads that call the engine. None: one per core, for a call uses one."
    )
    poll_ms: int = Field(default=500, ge=1, description="Longest wait for records; they wake the lane at once.")
    revoke_wait_ms: int = Field(
        default=3_000, ge=0, description="How long a revocation waits for answers under way; others are answered anew."
    )
