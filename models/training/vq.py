"""RQ-VAE with PLUM's options: levels trained end to end, frozen into a quantizer that numpy evaluates.

Encoder, codebooks and decoder are trained together on item vectors; the encoder and the codebooks are exported, the
decoder is not. Legend: N items, B batch, D dimensions of a vector, Z of the latent space, L levels, V codes of a level.

Source: TIGER, arXiv 2305.05065, section 3.1 (RQ-VAE, commitment 0.25, initialization by k-means); PLUM, arXiv
2510.07784 (halving codebooks, reconstruction from a random number of levels, contrastive loss on co-listened items).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sidestream.models.errors import TrainingError
from sidestream.tokenizer.arrays.grid import VECTOR_BITS, snap
from sidestream.tokenizer.levels import CentroidLevel, MlpEncoder, Quantizer
from sidestream.tokenizer.levels.kmeans import kmeans
from sidestream.tokenizer.settings import VqSettings

Float32Array = npt.NDArray[np.float32]

# Axes with little variance are not scaled up to the size of the others.
_LEAST_SPREAD = 0.25
_WEIGHT_LIMIT = 8.0
_KMEANS_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class TrainedVq:
    """Result of training.

    Args:
        quantizer: Frozen encoder and levels.
        decoder: Maps the quantizer's latent space, as scaled by it, to vectors.
    """

    quantizer: Quantizer
    decoder: nn.Module

    def decode(self, codes: npt.NDArray[np.int32]) -> Float32Array:
        """Decode codes to vectors; a prefix decodes to the centre of what follows it.

        Args:
            codes: Codes, first level first.

                Shape: (N, L or fewer).

        Returns:
            Vectors.

            Shape: (N, D).
        """
        latent = torch.from_numpy(self.quantizer.decode(codes).astype(np.float32))
        with torch.no_grad():
            vectors: Float32Array = self.decoder(latent).numpy()
        return vectors


class _RqVae(nn.Module):
    def __init__(self, dim: int, sizes: Sequence[int], settings: VqSettings) -> None:
        super().__init__()
        hidden, latent = settings.hidden_dim, settings.latent_dim
        # The order matters: each draws its initial weights from the generator.
        self.first = nn.Linear(dim, hidden)
        self.last = nn.Linear(hidden, latent)
        self.inner = nn.Linear(latent, hidden)
        self.outer = nn.Linear(hidden, dim)
        self.encoder = nn.Sequential(self.first, nn.ReLU(), self.last)
        self.decoder = nn.Sequential(self.inner, nn.ReLU(), self.outer)
        self.codebooks = nn.ParameterList(nn.Parameter(torch.zeros(size, latent)) for size in sizes)
        self.commitment = settings.commitment

    def quantize(self, latent: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the sum of the chosen codes with a straight-through gradient, the VQ loss, and the codes."""
        residual, chosen, loss = latent, torch.zeros_like(latent), latent.new_zeros(())
        codes = []
        for number, codebook in enumerate(self.codebooks):
            code = torch.cdist(residual.detach(), codebook.detach()).argmin(dim=1)
            picked = codebook[code]
            codes.append(code)
            loss = loss + functional.mse_loss(picked, residual.detach())
            loss = loss + self.commitment * functional.mse_loss(residual, picked.detach())
            residual = residual - picked.detach()
            chosen = chosen + picked * (kept > number)[:, None]
        # The codes' own gradient is kept: with levels masked, the codebooks learn to work without what follows.
        return chosen + (latent - latent.detach()), loss, codes


def train_vq(
    vectors: Float32Array,
    sizes: Sequence[int],
    settings: VqSettings,
    seed: int = 0,
    pairs: npt.NDArray[np.integer] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainedVq:
    """Train an RQ-VAE on a catalogue and freeze it.

    Args:
        vectors: Representation vectors of the items.

            Shape: (N, D).
        sizes: Codes of each level; halving sizes are PLUM's.
        settings: Training settings.
        seed: Seed of weights, batches and restarts.
        pairs: Co-listened items, from the training part of the log only.

            Shape: (num_pairs, 2).
        progress: Called with the epochs done and all epochs.

    Returns:
        The frozen quantizer and the decoder.

    Raises:
        TrainingError: Fewer items than codes of a level, or pairs are missing for the contrastive loss.
    """
    wants_pairs = settings.contrastive_weight > 0 and (pairs is None or not len(pairs))
    if len(vectors) < max(sizes) or wants_pairs:
        msg = (
            f"rq-vae: expected at least {max(sizes)} items, and pairs for contrastive_weight "
            f"{settings.contrastive_weight}; got {len(vectors)} items and {0 if pairs is None else len(pairs)} pairs; "
            "use smaller codebooks or contrastive_weight 0"
        )
        raise TrainingError(msg)
    rng = np.random.default_rng(seed)
    # Unscaled unit vectors would collapse onto one code: their components are far smaller than the weights expect.
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
    spread = np.maximum(spread, max(_LEAST_SPREAD * float(np.sqrt((spread**2).mean())), 1e-6)).astype(np.float32)
    inputs = torch.from_numpy(((vectors - mean) / spread).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _RqVae(vectors.shape[1], sizes, settings)
        _start_codebooks(model, inputs, rng)
        _train(model, inputs, settings, pairs, rng, progress)
    return _freeze(model, inputs, mean, spread)


def _train(
    model: _RqVae,
    inputs: Tensor,
    settings: VqSettings,
    pairs: npt.NDArray[np.integer] | None,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    num_levels = len(model.codebooks)
    for epoch in range(settings.epochs):
        progress(epoch, settings.epochs)
        used = [torch.zeros(len(codebook), dtype=torch.bool) for codebook in model.codebooks]
        for batch in _batches(inputs, settings, rng):
            least = 1 if settings.progressive_masking else num_levels
            kept = torch.from_numpy(rng.integers(least, num_levels + 1, len(batch)))
            quantized, loss, codes = model.quantize(model.encoder(batch), kept)
            loss = loss + functional.mse_loss(model.decoder(quantized), batch)
            if settings.contrastive_weight > 0 and pairs is not None:
                drawn = pairs[rng.integers(0, len(pairs), settings.batch_items)]
                loss = loss + settings.contrastive_weight * _info_nce(model, inputs, drawn, settings.temperature)
            _step(optimizer, loss)
            for seen, code in zip(used, codes, strict=True):
                seen[code] = True
        _restart_dead(model, inputs, used, rng)


def _batches(inputs: Tensor, settings: VqSettings, rng: np.random.Generator) -> Iterator[Tensor]:
    order = rng.permutation(len(inputs))
    for start in range(0, len(order), settings.batch_items):
        yield inputs[order[start : start + settings.batch_items]]


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimizer.step()


def _info_nce(model: _RqVae, inputs: Tensor, pairs: npt.NDArray[np.integer], temperature: float) -> Tensor:
    # Negatives come from the batch. Vectors are the decoded codes: listens affect the loss, never the input.
    both = inputs[pairs.T.reshape(-1)]
    chosen = model.quantize(model.encoder(both), torch.full((len(both),), len(model.codebooks)))[0]
    left, right = functional.normalize(chosen, dim=1).chunk(2)
    # Another occurrence of the same item in the batch is not a negative.
    same = torch.from_numpy(pairs[:, None, 1] == pairs[None, :, 1]) & ~torch.eye(len(pairs), dtype=torch.bool)
    scores = (left @ right.T / temperature).masked_fill(same, -math.inf)
    return functional.cross_entropy(scores, torch.arange(len(pairs)))


def _residuals(model: _RqVae, inputs: Tensor) -> list[Float32Array]:
    residual, left = model.encoder(inputs), []
    for codebook in model.codebooks:
        left.append(residual.numpy().copy())
        residual = residual - codebook[torch.cdist(residual, codebook).argmin(dim=1)]
    return left


def _start_codebooks(model: _RqVae, inputs: Tensor, rng: np.random.Generator) -> None:
    with torch.no_grad():
        for number, codebook in enumerate(model.codebooks):
            codebook.copy_(
                torch.from_numpy(kmeans(_residuals(model, inputs)[number], len(codebook), _KMEANS_ROUNDS, rng))
            )


def _restart_dead(model: _RqVae, inputs: Tensor, used: list[Tensor], rng: np.random.Generator) -> None:
    with torch.no_grad():
        left = _residuals(model, inputs)
        for codebook, seen, residual in zip(model.codebooks, used, left, strict=True):
            dead = np.flatnonzero(~seen.numpy())
            codebook[dead] = torch.from_numpy(residual[rng.choice(len(residual), len(dead), replace=False)])


def _freeze(model: _RqVae, inputs: Tensor, mean: Float32Array, spread: Float32Array) -> TrainedVq:
    with torch.no_grad():
        weights = [layer.weight.numpy().T.astype(np.float64) for layer in (model.first, model.last)]
        biases = [layer.bias.numpy().astype(np.float64) for layer in (model.first, model.last)]
        weights[0] /= spread[:, None]
        biases[0] -= mean @ weights[0]
        # ReLU is positively homogeneous, so large weights of one layer can be compensated in the next.
        factor = 2.0 ** -max(
            0, math.ceil(math.log2(max(np.abs(weights[0]).max(), np.abs(biases[0]).max()) / _WEIGHT_LIMIT))
        )
        weights[0], biases[0], weights[1] = weights[0] * factor, biases[0] * factor, weights[1] / factor
        codebooks = [codebook.numpy().astype(np.float64) for codebook in model.codebooks]
        largest = max(
            float(model.encoder(inputs).abs().max()), *(float(np.abs(codebook).max()) for codebook in codebooks)
        )
        scale = 2.0 ** -math.ceil(math.log2(max(largest, 1e-9)))
        model.inner.weight /= scale
        model.outer.weight *= torch.from_numpy(spread)[:, None]
        model.outer.bias.copy_(model.outer.bias * torch.from_numpy(spread) + torch.from_numpy(mean))
    encoder = MlpEncoder.freeze([weights[0], weights[1] * scale], [biases[0], biases[1] * scale])
    levels = tuple(CentroidLevel(snap(codebook * scale, VECTOR_BITS)) for codebook in codebooks)
    return TrainedVq(Quantizer(levels, 1, encoder), model.decoder)
