"""Settings of drift detection: size of the window of arrivals, and limits of the alarms."""

from pydantic import BaseModel, ConfigDict, Field


class DriftSettings(BaseModel):
    """When arrivals count as drifted; an alarm is cleared below 80 % of its limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(
        default=1_000,
        ge=50,
        le=1_000_000,
        description="Number of latest new items that are judged together; at most half as many as the reference was "
        "measured on. Nothing is judged before that many have arrived.",
    )
    residual_limit: float = Field(
        default=0.15,
        gt=0.05,
        le=1.0,
        description="Alarm above this share of arrivals whose quantization residual exceeds that of 95 % of the "
        "training items.",
    )
    psi_limit: float = Field(
        default=0.25,
        gt=0,
        description="Alarm above this population stability index of a level's codes, minus its mean under chance.",
    )
    collision_limit: float = Field(
        default=0.15,
        gt=0,
        le=1.0,
        description="Alarm if the share of arrivals that share their SID exceeds that of training items by this much.",
    )
