"""Settings of the ONNX engine."""

from pydantic import BaseModel, ConfigDict, Field


class EngineSettings(BaseModel):
    """Settings of the engine's search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beam_size: int = Field(
        default=30,
        ge=1,
        le=512,
        description="Prefixes kept per level of the beam search; at least as many as requested candidates.",
    )
    leaf_beam_size: int = Field(
        default=100,
        ge=1,
        le=2048,
        description="Minimum SIDs kept on the last level; raised to the number of candidates.",
    )
    max_leaf_beam_size: int = Field(
        default=512, ge=1, le=4096, description="Upper limit of SIDs kept on the last level."
    )
    gamma: float | None = Field(
        default=None, ge=0, description="Weight of the SID's log-probability. None: the value chosen in training."
    )
    beta: float | None = Field(
        default=None, ge=0, description="Weight of the item score. None: the value chosen in training."
    )
    num_threads: int = Field(
        default=1, ge=1, le=64, description="Threads per call; one is best, with one caller per core."
    )
