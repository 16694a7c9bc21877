"""The generator network: a causal encoder over listens, a feed-forward head over SID levels, and an item score.

Shape legend: B sequences, T listens, L levels, K_l codes of level l, N positions, M items, D d_model, H heads.

Decisions:
- One position is one item: `v = sum_l E_l[c_l] + u`, so a history of 50 costs 50 positions, and an item without listens
  still has its codes.
- Learned positions count from the end (0 = the latest listen): left padding changes nothing.
- Lean blocks (pre-RMSNorm, ReLU, no biases): the cheapest on a CPU, for training and for serving.
- Level head and item score read the same hidden state; the head adds the embeddings of the codes chosen so far.
- No batch statistics and no state: `eval()` makes every output a pure function of its arguments.

Source: pre-norm transformer, RMSNorm of Zhang and Sennrich 2019 (arXiv 1910.07467), equation 4; level codes as
targets after Rajput et al. 2023 (arXiv 2305.05065), section 3.2.
"""

import random
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidestream.models.network_config import NetworkConfig

__all__ = ["NetworkConfig", "GenModel", "MaskPool"]

_POOL_ALIGN = 64  # elements: slices start on cache lines
_NORM_EPS = 1e-6


class MaskPool(nn.Module):
    """Dropout that multiplies by a random slice of masks drawn once.

    On one CPU thread `F.dropout` of 8192 x 512 costs as much as the matrix product before it (48 ms); a slice of a
    pool costs one product, which made an epoch 2.4 times as fast.

    Args:
        rate: Share of zeroed elements, 0 <= rate < 1.
        seed: Seed of masks and offsets.
        size: Elements of the pool; it grows when an input needs more than half of it.
    """

    def __init__(self, rate: float, seed: int = 0, size: int = 1 << 23) -> None:
        super().__init__()
        self.rate = rate
        self._size = size
        self._offsets = random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._pools: dict[torch.dtype, Tensor] = {}

    def redraw(self) -> None:
        """Drop the masks, so that the next call draws new ones (once per epoch is enough)."""
        self._pools.clear()

    def forward(self, x: Tensor) -> Tensor:
        """Zero a random share of `x` and scale the rest by 1 / (1 - rate); the identity in evaluation.

        Shape: any; the result has the shape and type of `x`.
        """
        if not self.training or self.rate == 0.0:
            return x
        count = x.numel()
        pool = self._pools.get(x.dtype)
        if pool is None or 2 * count > pool.numel():
            pool = self._draw(max(self._size, 4 * count), x.dtype)
        start = self._offsets.randrange((pool.numel() - count) // _POOL_ALIGN + 1) * _POOL_ALIGN
        return x * pool[start : start + count].view(x.shape)

    def _draw(self, size: int, dtype: torch.dtype) -> Tensor:
        kept = torch.rand(size, generator=self._generator) >= self.rate
        pool = kept.to(dtype).div_(1.0 - self.rate)
        self._pools[dtype] = pool
        return pool


class FeedForward(nn.Module):
    """Two matrices with a ReLU between them, no biases."""

    def __init__(self, config: NetworkConfig, drop: MaskPool) -> None:
        super().__init__()
        hidden = config.ffn_multiple * config.d_model
        self.up = nn.Linear(config.d_model, hidden, bias=False)
        self.down = nn.Linear(hidden, config.d_model, bias=False)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """Transform every position separately.

        Shape: (..., D) to (..., D).
        """
        return cast(Tensor, self.drop(self.down(self.drop(functional.relu(self.up(x))))))


class Block(nn.Module):
    """One encoder layer: attention over the listens so far, then a feed-forward block."""

    def __init__(self, config: NetworkConfig, drop: MaskPool) -> None:
        super().__init__()
        d = config.d_model
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.norm_attention = nn.RMSNorm(d, eps=_NORM_EPS)
        self.query = nn.Linear(d, d, bias=False)
        self.key_value = nn.Linear(d, 2 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.norm_ffn = nn.RMSNorm(d, eps=_NORM_EPS)
        self.ffn = FeedForward(config, drop)
        self.drop = drop

    def forward(self, x: Tensor, mask: Tensor | None, last_only: bool = False) -> Tensor:
        """Apply the layer; every position attends to itself and those before it.

        Args:
            x: Hidden states. Shape: (B, T, D).
            mask: Added to attention scores, 0 or -inf; None = plain causal. Shape: (B or 1, 1, T, T).
            last_only: Compute only the last position, which is all that serving needs of the last layer.

        Returns:
            Hidden states. Shape: (B, T, D), or (B, 1, D) with `last_only`.
        """
        normed = self.norm_attention(x)
        key, value = self.key_value(normed).chunk(2, dim=-1)
        if last_only:
            x, normed = x[:, -1:], normed[:, -1:]
            mask = None if mask is None else mask[:, :, -1:]
        attended = functional.scaled_dot_product_attention(
            self._split(self.query(normed)),
            self._split(key),
            self._split(value),
            attn_mask=mask,
            is_causal=mask is None and not last_only,
        )
        x = x + self.drop(self.out(attended.transpose(1, 2).flatten(2)))
        return cast(Tensor, x + self.ffn(self.norm_ffn(x)))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.num_heads, self.head_dim).transpose(1, 2)


class GenModel(nn.Module):
    """The generator: maps listens to logits of the SID levels and item scores.

    The item vectors `u` are not parameters of this module: training keeps them in its own table, serving reads `v` from
    the catalogue.

    Args:
        config: Shape of all arrays.
        seed: Seed of the initial weights and of dropout.
    """

    code_offsets: Tensor

    def __init__(self, config: NetworkConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        d, num_codes = config.d_model, config.code_offsets[-1]
        drop = MaskPool(config.dropout, seed)
        self.drop = drop
        self.code_embedding = nn.Parameter(torch.empty(num_codes, d))  # E, all levels stacked
        self.position_embedding = nn.Parameter(torch.empty(config.max_len, d))  # last row: the latest listen
        self.blocks = nn.ModuleList(Block(config, drop) for _ in range(config.num_layers))
        self.norm_hidden = nn.RMSNorm(d, eps=_NORM_EPS)
        self.prefix_embedding = nn.Parameter(torch.empty(num_codes, d))
        self.level_embedding = nn.Parameter(torch.empty(config.num_levels, d))
        self.norm_head = nn.RMSNorm(d, eps=_NORM_EPS)
        self.head_ffn = FeedForward(config, drop)
        self.norm_output = nn.RMSNorm(d, eps=_NORM_EPS)
        self.output_embedding = nn.Parameter(torch.empty(num_codes, d))
        self.register_buffer("code_offsets", torch.tensor(config.code_offsets[:-1]), persistent=False)
        self._initialise(torch.Generator().manual_seed(seed))

    def _initialise(self, generator: torch.Generator) -> None:
        depth = (2 * self.config.num_layers) ** -0.5
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                continue  # norms start at one
            std = 0.02 if name.endswith("_embedding") else weight.shape[1] ** -0.5
            if name.endswith(("out.weight", "down.weight")):
                std *= depth
            nn.init.normal_(weight, std=std, generator=generator)

    def item_vectors(self, codes: Tensor, u: Tensor | None = None) -> Tensor:
        """Compute `v = sum_l E_l[c_l] + u`; the code part is zero where the codes are unknown (-1).

        Shape: codes (..., L), u (..., D), result (..., D).
        """
        rows = codes.clamp(min=0) + self.code_offsets
        known = (codes[..., :1] >= 0).to(self.code_embedding.dtype)
        vectors = functional.embedding(rows, self.code_embedding).sum(dim=-2) * known
        return vectors if u is None else vectors + u

    def tokens(self, codes: Tensor, u: Tensor | None, drop: bool = True) -> Tensor:
        """Build encoder inputs from SIDs and item vectors.

        Args:
            codes: SIDs, -1 for padding. Shape: (B, T, L).
            u: The items' own vectors, zero for padding. Shape: (B, T, D).
            drop: Zero some items' `u` while training (`item_vector_dropout`), so that the network learns to handle new
                items.

        Returns:
            Scaled item vectors, without positions. Shape: (B, T, D).
        """
        if drop and u is not None:
            u = self.drop_item_vectors(u)
        return self.item_vectors(codes, u) * self.config.input_scale

    def drop_item_vectors(self, u: Tensor) -> Tensor:
        """Zero whole rows of `u` at random while training (not rescaled: an absent vector is a zero one).

        Shape: (..., D) to (..., D).
        """
        if not self.training or self.config.item_vector_dropout == 0.0:
            return u
        kept = torch.rand(u.shape[:-1]) >= self.config.item_vector_dropout
        return u * kept.unsqueeze(-1).to(u.dtype)

    def encode(self, tokens: Tensor, valid: Tensor | None = None, last_only: bool = False) -> Tensor:
        """Encode histories, oldest listen first, padded on the left.

        Args:
            tokens: From `tokens`. Shape: (B, T, D), T <= max_len.
            valid: False where a position is padding; None = no padding (the fast path). Shape: (B, T).
            last_only: Return only the last position; the last layer then skips the others.

        Returns:
            Normalized hidden states, also defined for a history of padding only. Shape: (B, T, D) or (B, 1, D).
        """
        x = self.drop(tokens + self.position_embedding[self.config.max_len - tokens.shape[1] :])
        mask = None if valid is None else self._mask(valid, x.dtype)
        for index, block in enumerate(self.blocks):
            x = block(x, mask, last_only=last_only and index == len(self.blocks) - 1)
        return cast(Tensor, self.norm_hidden(x))

    def _mask(self, valid: Tensor, dtype: torch.dtype) -> Tensor:
        at = torch.arange(valid.shape[1], device=valid.device)
        # A position always attends to itself: a row of only -inf would become NaN.
        own = at[:, None] == at[None, :]
        readable = (at[:, None] > at[None, :]) & valid[:, None, :] | own
        return torch.zeros_like(readable, dtype=dtype).masked_fill(~readable, float("-inf")).unsqueeze(1)

    def level_logits(self, h: Tensor, codes: Tensor) -> tuple[Tensor, ...]:
        """Score the codes of every level, each with the true codes before it (teacher forcing).

        Shape: h (N, D), codes (N, L); the result has L arrays of shape (N, K_l).
        """
        rows = codes + self.code_offsets
        prefix: Tensor | None = None
        logits = []
        for level in range(self.config.num_levels):
            logits.append(self.step_logits(h, prefix, level))
            chosen = functional.embedding(rows[:, level], self.prefix_embedding)
            prefix = chosen if prefix is None else prefix + chosen
        return tuple(logits)

    def step_logits(self, h: Tensor, prefix: Tensor | None, level: int) -> Tensor:
        """Score the codes of one level.

        Args:
            h: Hidden states. Shape: (N, D), or (1, D) for all.
            prefix: Sum of the prefix embeddings of the codes before; None on the first level. Shape: (N, D).
            level: 0-based level.

        Returns:
            Logits over the whole codebook. Shape: (N, K_level).
        """
        z = h + self.level_embedding[level]
        z = z if prefix is None else z + prefix
        z = self.norm_output(z + self.head_ffn(self.norm_head(z)))
        return functional.linear(z, self.level_table(self.output_embedding, level))

    def level_table(self, table: Tensor, level: int) -> Tensor:
        """Return one level's rows of a table over all codes.

        Shape: table (sum of K_l, D); result (K_level, D).
        """
        first, last = self.config.code_offsets[level : level + 2]
        return table[first:last]

    def item_scores(self, h: Tensor, vectors: Tensor) -> Tensor:
        """Score items by `<h, v>`.

        Shape: h (N, D), vectors (M, D); result (N, M).
        """
        return functional.linear(h, vectors)
