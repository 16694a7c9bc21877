"""Settings of the demo."""

from pydantic import BaseModel, ConfigDict, Field


class DemoSettings(BaseModel):
    """How the demo plays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    play_s: float = Field(default=25.0, gt=0, description="How long one pass over the log takes.")
    again_s: float = Field(default=120.0, gt=0, description="How long each further pass takes when it goes on.")
    answer_wait_s: float = Field(
        default=60.0, gt=0, description="The last answers are waited for until none has come for so long."
    )
    ready_wait_s: float = Field(
        default=180.0, gt=0, description="The worker is waited for until it has made no progress for so long."
    )
