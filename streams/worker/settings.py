"""Settings of the worker as a whole."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["all", "recommend", "tokenize"]


class WorkerSettings(BaseModel):
    """What a worker does and how it belongs to others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role = Field(
        default="all",
        description="all; or recommend and tokenize apart, each in a consumer group of its own. Do not mix both ways.",
    )
    app_id: str = Field(
        default="sidestream",
        min_length=1,
        max_length=200,
        pattern=r"^[a-zA-Z0-9._-]+$",
        description="Name of the consumer group and of the local state.",
    )
    clock: Literal["wall", "log"] = Field(
        default="wall",
        description="What expiry and newness of items go by; log: the latest session-start's time, for old logs.",
    )
    broker_wait_s: float = Field(
        default=60.0, ge=0, description="How long to wait for a Kafka that does not answer before giving up."
    )
