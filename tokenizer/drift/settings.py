"""Settings of the drift alarms: how many arrivals are judged together, and what is too far from the training."""

from pydantic import BaseModel, ConfigDict, Field


class DriftSettings(BaseModel):
    """When arrivals count as drifted; each limit is left again below 80 % of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(
        default=1_000,
        ge=50,
        le=1_000_000,
        description="New items judged together, the latest ones; at most half as many as the reference was measured "
        "on. Until so many have come nothing is judged.",
    )
    residual_limit: float = Field(
        default=0.15,
        gt=0.05,
        le=1.0,
        description="Alarm above this share of arrivals whose codes leave more over than those of 95 % of the training "
        "items did.",
    )
    psi_limit: float = Field(
        default=0.25,
        gt=0,
        description="Alarm above this population stability index of a level's codes, less what chance alone gives.",
    )
    collision_limit: float = Field(
        default=0.15,
        gt=0,
        le=1.0,
        description="Alarm if the share of arrivals that share their SID lies so far above that of training items.",
    )
