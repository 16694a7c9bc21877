"""Settings of the recommender core."""

from pydantic import BaseModel, ConfigDict, Field


class RecommendSettings(BaseModel):
    """How candidates are searched, filtered and filled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_history: int = Field(
        default=50, ge=1, le=50, description="Number of latest history entries given to the model."
    )
    exclude_seen: bool = Field(
        default=True,
        description="Exclude items of the recent history, except if discovery=familiar asks for them.",
    )
    reserved_new: int = Field(
        default=2, ge=0, le=20, description="Last places reserved for new items; at most a fifth of a candidate set."
    )
    new_within_hours: float = Field(
        default=72.0, ge=0, description="Hours after publication during which an item counts as new."
    )
    max_new_ranked: int = Field(
        default=512, ge=1, le=100_000, description="Number of newest items that compete for the reserved places."
    )
