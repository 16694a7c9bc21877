"""Owns the settings of the tokenizer: what is chosen before it is fitted and frozen afterwards."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tokenizer.sid import MAX_CODEBOOK_SIZE, MAX_LEVELS


class TokenizerSettings(BaseModel):
    """How a tokenizer is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_levels: int = Field(default=3, ge=1, le=MAX_LEVELS, description="Codes in a SID.")
    codebook_size: int = Field(
        default=256,
        ge=2,
        le=MAX_CODEBOOK_SIZE,
        description="Codes of each level at most; small catalogues get fewer, about twice the root of their size.",
    )
    vector_dim: int = Field(default=128, ge=8, le=1024, description="Dimensions of an item's representation vector.")
    collaborative_dim: int = Field(
        default=64, ge=0, le=1024, description="Dimensions of it that come from listens; 0 uses content alone."
    )
    content_share: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Share of the squared length that content gets beside listens."
    )
    cooccurrence_window: int = Field(
        default=5, ge=1, le=100, description="Listens at most this many places apart count as heard together."
    )
    kmeans_iterations: int = Field(default=25, ge=1, le=1000, description="Rounds of k-means a level at most.")
    kmeans_sample: int = Field(
        default=100_000, ge=1, description="Items drawn for fitting the codebooks; more are encoded but not fitted on."
    )

    @model_validator(mode="after")
    def _dimensions_fit(self) -> Self:
        if self.collaborative_dim >= self.vector_dim:
            msg = (
                f"collaborative_dim must be below vector_dim, got {self.collaborative_dim} and {self.vector_dim}; "
                "the rest is content's"
            )
            raise ValueError(msg)
        return self
