"""Owns the settings of a training: what is chosen before it starts."""

from pydantic import BaseModel, ConfigDict, Field

from sidestream.models.network_config import NetworkConfig


class TrainSettings(BaseModel):
    """How the generator is trained; the defaults suit data sets of 1,000 to 100,000 listeners on one CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(
        default=0, ge=0, description="Of weights, order, negatives and dropout; one thread repeats exactly."
    )
    threads: int = Field(
        default=1, ge=1, description="Torch threads; one is exact, and more are slower where others use the cores."
    )
    epochs: int = Field(default=12, ge=1, description="Passes over the training listens.")
    max_steps: int = Field(
        default=1_200, ge=1, description="Optimizer steps at most; cuts the passes short on large data."
    )
    batch_positions: int = Field(
        default=2_048, ge=1, description="Listens in one batch, in sequences of similar length."
    )
    min_batches: int = Field(
        default=32, ge=1, description="Batches an epoch at least: small data gets smaller batches instead of few steps."
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="AdamW's peak rate; a cosine takes it to zero.")
    warmup_steps: int = Field(default=50, ge=0, description="Steps until the peak rate, a tenth of all at most.")
    weight_decay: float = Field(default=0.01, ge=0, description="Of AdamW, on every parameter.")
    clip_norm: float = Field(default=1.0, gt=0, description="Norm that the gradient is cut to.")
    num_negatives: int = Field(
        default=2_048,
        ge=1,
        description="Items drawn for a batch that every target is set against; all if there are fewer.",
    )
    item_loss_weight: float = Field(default=1.0, ge=0, description="Weight of the item loss beside the level losses.")
    item_vector_norm: float = Field(
        default=1.0, ge=0, description="Length of the item vectors' start; 0 starts at zero."
    )
    cooccurrence_window: int = Field(default=50, ge=1, description="Listens at most this far apart count as together.")
    autocast_bf16: bool = Field(
        default=False, description="Compute in bfloat16: twice as fast on CPUs with AMX, slower on others."
    )
    d_model: int = Field(default=128, ge=2, description="Width of hidden states and of item vectors.")
    num_layers: int = Field(default=2, ge=1, description="Layers of the history encoder.")
    head_dim: int = Field(default=64, ge=2, description="Width of one attention head; divides d_model.")
    max_len: int = Field(default=50, ge=1, le=50, description="Listens that the model reads, the latest ones.")
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
        description="Listeners whose validation items choose the guide weights; 0 takes the first pair.",
    )
    guide_weights: tuple[tuple[float, float], ...] = Field(
        default=((0.25, 2.0), (0.5, 2.0), (0.1, 2.0), (1.0, 2.0), (2.0, 2.0)),
        min_length=1,
        description="Pairs (gamma, beta) tried: weights of SID likelihood and item score; only their ratio matters.",
    )

    def network(self, codebook_sizes: tuple[int, ...]) -> NetworkConfig:
        """Give the network's shape for a tokenizer.

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
