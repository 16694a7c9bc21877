"""Settings of the catalogue agent."""

from pydantic import BaseModel, ConfigDict, Field

from sidestream.tokenizer.drift.settings import DriftSettings


class AgentSettings(BaseModel):
    """How catalogue items are collected before they are tokenized."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int = Field(default=256, ge=1, le=10_000, description="Catalogue items tokenized together.")
    batch_ms: int = Field(default=5, ge=0, le=1_000, description="How long a micro-batch waits for more items.")
    drift: DriftSettings = DriftSettings()
    max_sids: int = Field(
        default=1,
        ge=1,
        le=16,
        description="SIDs of an item at most; several make it reachable under several prefixes. Not with psrq levels.",
    )
    sid_margin: float = Field(
        default=0.1,
        ge=0,
        le=10,
        description="How much larger the squared error of an additional SID may be, as a share of the first SID's.",
    )
