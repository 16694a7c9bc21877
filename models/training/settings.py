"""Settings for training the generator."""

from pydantic import BaseModel, ConfigDict, Field

from sidestream.models.network_config import NetworkConfig


class TrainSettings(BaseModel):
    """How the generator is trained; the defaults suit data sets of 1,000 to 100,000 listeners on one CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Random seed; reproducible with one thread.")
    threads: int = Field(
        default=1, ge=1, description="Torch threads; one is reproducible, and more are slower on busy cores."
    )
    epochs: int = Field(default=12, ge=1, description="Passes over the training listens.")
    max_steps: int = Field(default=1_200, ge=1, description="Maximum optimizer steps; limits the passes on large data.")
    batch_positions: int = Field(default=2_048, ge=1, description="Listens per batch, in sequences of similar length.")
    min_batches: int = Field(
        default=32, ge=1, description="Minimum batches per epoch: small data gets smaller batches, not fewer steps."
    )
    learning_rate: float = Field(
        default=2e-3, gt=0, description="Peak learning rate of AdamW, with cosine decay to zero."
    )
    warmup_steps: int = Field(default=50, ge=0, description="Steps until the peak rate, at most a tenth of all.")
    weight_decay: float = Field(default=0.01, ge=0, description="Weight decay of AdamW, on every parameter.")
    clip_norm: float = Field(default=1.0, gt=0, description="Norm to which gradients are clipped.")
    num_negatives: int = Field(
        default=2_048,
        ge=1,
        description="Negative items drawn per batch, shared by all targets; all items if there are fewer.",
    )
    item_loss_weight: float = Field(
        default=1.0, ge=0, description="Weight of the item loss relative to the level losses."
    )
    item_vector_norm: float = Field(
        default=1.0, ge=0, description="Length of the initial item vectors; 0 initializes with zeros."
    )
    cooccurrence_window: int = Field(default=50, ge=1, description="Listens at most this far apart are co-listened.")
    autocast_bf16: bool = Field(
        default=False, description="Compute in bfloat16: twice as fast on CPUs with AMX, slower on others."
    )
    d_model: int = Field(default=128, ge=2, description="Width of hidden states and of item vectors.")
    num_layers: int = Field(default=2, ge=1, description="Layers of the history encoder.")
    head_dim: int = Field(default=64, ge=2, description="Width of one attention head; divides d_model.")
    max_len: int = Field(default=50, ge=1, le=50, description="Number of latest listens that the model reads.")
    dropout: float = Field(default=0.4, ge=0, lt=1, description="Dropout after every sub-layer.")
    item_vector_dropout: float = Field(
        default=0.2, ge=0, lt=1, description="Share of items whose own vector is zeroed in training (new items)."
    )
    ridge: float = Field(
        default=0.1, gt=0, description="Penalty of the ridge that predicts a new item's vector from its content."
    )
    validation_listeners: int = Field(
        default=600,
        ge=0,
        description="Listeners whose validation items are used to choose the guide weights; 0 uses the first pair.",
    )
    guide_weights: tuple[tuple[float, float], ...] = Field(
        default=((0.25, 2.0), (0.5, 2.0), (0.1, 2.0), (1.0, 2.0), (2.0, 2.0)),
        min_length=1,
        description="Pairs (gamma, beta) tried: weights of SID likelihood and item score; only their ratio matters.",
    )

    def network(self, codebook_sizes: tuple[int, ...]) -> NetworkConfig:
        """Return the network configuration for a tokenizer.

        Args:
            codebook_sizes: Codes of each SID level.

        Returns:
            The configuration.
        """
        return NetworkConfig(
            codebook_sizes=codebook_sizes,
            d_model=self.d_model,
            num_layers=self.num_layers,
            head_dim=self.head_dim,
            max_len=self.max_len,
            dropout=self.dropout,
            item_vector_dropout=self.item_vector_dropout,
        )
