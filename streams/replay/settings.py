"""Settings of the replay of log folders onto topics."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sidestream.models.state_limits import MAX_EVENT_IDS


class ReplaySettings(BaseModel):
    """How a log folder is played."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speed: float = Field(
        default=0.0, ge=0, description="Log time per wall time: 60 plays an hour in a minute; 0 is as fast as possible."
    )
    max_batch: int = Field(
        default=256, ge=1, le=10_000, description="Rows sent before their acks are awaited and the position is saved."
    )
    max_batch_per_user: int = Field(
        default=MAX_EVENT_IDS,
        ge=1,
        le=MAX_EVENT_IDS,
        description="Listens of one user in a batch. After a crash a batch is repeated, and states store this many "
        "event ids to recognise repeats.",
    )
    shift_ms: int = Field(
        default=0, description="Added to every time of the log, for example to move an old log to the current time."
    )
    heldout: bool = Field(default=False, description="Also play the held-out listens of the split.")
    session_after_heldout: bool = Field(
        default=False, description="Add a session-start of the same listener after each held-out listen."
    )
    stamp: Literal["now", "log"] = Field(
        default="now",
        description="Kafka timestamps: the wall clock, or `at`; a topic with time-based retention soon deletes records "
        "with old timestamps, and workers skip such session-starts (`session.max_age_ms`).",
    )
