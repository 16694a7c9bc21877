"""Settings of the demo."""

from pydantic import BaseModel, ConfigDict, Field


class DemoSettings(BaseModel):
    """How the demo plays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    play_s: float = Field(default=25.0, gt=0, description="How long one pass over the log takes.")
    again_s: float = Field(default=120.0, gt=0, description="How long each further pass takes when it goes on.")
    answer_wait_s: float = Field(default=20.0, gt=0, description="How long the last answers may take.")
    ready_wait_s: float = Field(default=90.0, gt=0, description="How long the worker may take to be ready.")
