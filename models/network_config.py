"""Configuration of the generator network, usable without torch by the engine, the artifact and the tests."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class NetworkConfig(BaseModel):
    """Everything that determines the arrays of a `GenModel`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codebook_sizes: tuple[int, ...] = Field(default=(256, 256, 256), description="Codes of each SID level, in order.")
    d_model: int = Field(default=128, ge=2, description="Width of hidden states and of item vectors.")
    num_layers: int = Field(default=2, ge=1, description="Layers of the causal history encoder.")
    head_dim: int = Field(default=64, ge=2, description="Width of one attention head; divides d_model.")
    ffn_multiple: int = Field(default=4, ge=1, description="Hidden width of every feed-forward block over d_model.")
    max_len: int = Field(default=50, ge=2, description="Number of latest listens that the encoder reads.")
    input_scale: float = Field(default=8.0, gt=0, description="Factor on item vectors at the encoder's input.")
    dropout: float = Field(default=0.4, ge=0, lt=1, description="Dropout in training, after every sub-layer.")
    item_vector_dropout: float = Field(
        default=0.2, ge=0, lt=1, description="Share of items whose own vector u is zeroed in training (new items)."
    )

    @model_validator(mode="after")
    def _check(self) -> "NetworkConfig":
        if not self.codebook_sizes or min(self.codebook_sizes) < 1:
            msg = f"codebook_sizes must have at least one level of at least one code, got {self.codebook_sizes}"
            raise ValueError(msg)
        if self.d_model % self.head_dim:
            msg = f"d_model must be a multiple of head_dim, got {self.d_model} and {self.head_dim}"
            raise ValueError(msg)
        return self

    @property
    def num_levels(self) -> int:
        """Levels of a SID."""
        return len(self.codebook_sizes)

    @property
    def num_heads(self) -> int:
        """Attention heads of every layer."""
        return self.d_model // self.head_dim

    @property
    def code_offsets(self) -> tuple[int, ...]:
        """First row of each level in the stacked tables of all codes.

        Shape: (num_levels + 1,); the last entry is the number of rows.
        """
        offsets = [0]
        for size in self.codebook_sizes:
            offsets.append(offsets[-1] + size)
        return tuple(offsets)
