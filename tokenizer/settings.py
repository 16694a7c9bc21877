"""Settings for fitting a tokenizer; frozen in its artifact afterwards."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sidestream.tokenizer.sid import MAX_CODEBOOK_SIZE, MAX_LEVELS


class VqSettings(BaseModel):
    """How levels of kind vq are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent_dim: int = Field(default=32, ge=2, le=512, description="Dimensions of the quantized latent space.")
    hidden_dim: int = Field(default=256, ge=2, le=4096, description="Units of the hidden layer of encoder and decoder.")
    epochs: int = Field(
        default=120, ge=1, description="Passes over the items; with half as many, level masking had no effect yet."
    )
    batch_items: int = Field(default=256, ge=2, description="Items, and pairs, per step.")
    learning_rate: float = Field(default=1e-3, gt=0.0, description="Learning rate of Adam.")
    commitment: float = Field(default=0.25, ge=0.0, description="Weight of the commitment loss.")
    progressive_masking: bool = Field(
        default=False, description="Reconstruct from a random number of levels, so that every prefix is meaningful."
    )
    contrastive_weight: float = Field(
        default=0.0,
        ge=0.0,
        description="Weight of the contrastive loss (InfoNCE) on co-listened items of the training part.",
    )
    temperature: float = Field(default=0.1, gt=0.0, description="Temperature of the contrastive loss.")


LevelKindSetting = Literal["kmeans", "psrq", "fsq", "vq"]


class TokenizerSettings(BaseModel):
    """How a tokenizer is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str = Field(
        default="wordllama",
        min_length=1,
        description="Content encoder: wordllama, or the folder of a sentence encoder with model.onnx and "
        "tokenizer.json, as `sidestream export-encoder` writes it; its files are stored in the artifact.",
    )
    views: tuple[str, ...] = Field(
        default=(),
        description='Views that make up an item\'s content, as in ["text", "segments.dialogue", "cover"]: text, '
        "segments of all fields or of one, precomputed vectors by name. Empty: text.",
    )
    view_weights: tuple[float, ...] = Field(
        default=(), description="Weight of each view. Empty: learned from co-listened items."
    )
    num_levels: int = Field(default=3, ge=1, le=MAX_LEVELS, description="Codes in a SID.")
    codebook_size: int = Field(
        default=256,
        ge=2,
        le=MAX_CODEBOOK_SIZE,
        description="Maximum codes per level; small catalogues get fewer, about twice the square root of their size.",
    )
    codebook_sizes: tuple[int, ...] = Field(
        default=(),
        description="Codes of each level, as in [128, 64, 32]; at most the number of items. Empty: codebook_size.",
    )
    level_kinds: tuple[LevelKindSetting, ...] = Field(
        default=(),
        description="Kind of each level: kmeans, fsq (last level only), psrq (features rather than addresses: see "
        "prefix_weight), or vq for all (an RQ-VAE; needs the extra `train`). Empty: all kmeans.",
    )
    vq: VqSettings = VqSettings()
    prefix_weight: float = Field(
        default=0.3,
        ge=0.0,
        le=1.0,
        description="Weight of the prefix in psrq levels; with 1 most items share their SID with others.",
    )
    beam_size: int = Field(
        default=1, ge=1, le=64, description="Paths kept from level to level while encoding; 1 is greedy."
    )
    vector_dim: int = Field(default=128, ge=8, le=1024, description="Dimensions of an item's representation vector.")
    collaborative_dim: int = Field(
        default=64, ge=0, le=1024, description="Dimensions of it that come from listens; 0 uses content only."
    )
    content_share: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Share of the squared length of the vector that is the content half's."
    )
    cooccurrence_window: int = Field(
        default=5, ge=1, le=100, description="Listens at most this many positions apart count as co-listened."
    )
    kmeans_iterations: int = Field(default=25, ge=1, le=1000, description="Maximum iterations of k-means per level.")
    kmeans_sample: int = Field(
        default=100_000, ge=1, description="Items sampled for the iterations of k-means; only these are held in memory."
    )
    kmeans_passes: int = Field(
        default=1,
        ge=0,
        le=100,
        description="Passes per level over all items after the iterations, if there are more items than the sample.",
    )

    @property
    def kinds(self) -> tuple[LevelKindSetting, ...]:
        """Kind of each level, one for each."""
        if self.level_kinds:
            return self.level_kinds
        return tuple[Literal["kmeans"], ...](["kmeans"] * self.num_levels)

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.view_weights and len(self.view_weights) != len(self.views):
            msg = f"view_weights must be empty or one for each of {list(self.views)}, got {list(self.view_weights)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _dimensions_fit(self) -> Self:
        if self.collaborative_dim >= self.vector_dim:
            msg = (
                f"collaborative_dim must be below vector_dim, got {self.collaborative_dim} and {self.vector_dim}; "
                "the remaining dimensions are content"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        for name, chosen in (("codebook_sizes", self.codebook_sizes), ("level_kinds", self.level_kinds)):
            if chosen and len(chosen) != self.num_levels:
                msg = f"{name} must be empty or name num_levels = {self.num_levels} levels, got {list(chosen)}"
                raise ValueError(msg)
        if any(not 2 <= size <= MAX_CODEBOOK_SIZE for size in self.codebook_sizes):
            msg = f"codebook_sizes must be from 2 to {MAX_CODEBOOK_SIZE}, got {list(self.codebook_sizes)}"
            raise ValueError(msg)
        if "fsq" in self.kinds[:-1]:
            msg = f"level_kinds may have fsq as the last level only, got {list(self.kinds)}: no level can follow it"
            raise ValueError(msg)
        if "vq" in self.kinds and set(self.kinds) != {"vq"}:
            msg = (
                f"level_kinds must be vq for all levels or for none, got {list(self.kinds)}: they are trained together"
            )
            raise ValueError(msg)
        if "psrq" in self.kinds and self.beam_size > 1:
            msg = f"beam_size must be 1 with psrq levels, got {self.beam_size}: scores of prefixes are not comparable"
            raise ValueError(msg)
        return self
