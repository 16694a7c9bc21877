"""Training loop of the generator.

Same data, seed and settings give the same weights with one thread on one machine: every random number comes from
generators seeded here, and torch's global state is restored afterwards.

Shape legend: B windows, T positions, N asked positions of a batch, M negatives, D d_model, L levels.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sidestream.models.errors import TrainingError
from sidestream.models.evaluation import Cases, recall_at
from sidestream.models.network import GenModel, NetworkConfig
from sidestream.models.objectives import item_loss, level_loss
from sidestream.models.training.curve import CurvePoint
from sidestream.models.training.diagnostics import dense_ranks
from sidestream.models.training.progress import ProgressCallback, TrainProgress
from sidestream.models.training.sequences import Batch, Batches
from sidestream.models.training.settings import TrainSettings

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]

_CURVE_LISTENERS = 500
_CURVE_MEASUREMENTS = 6


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Data of a training.

    Args:
        sequences: Training sequences of item indices, oldest first.
        codes: SIDs of all items. Shape: (num_items, L).
        item_vectors: Initial u. Shape: (num_items, D).
        validation: Validation cases for the curve, never trained on.
        is_liked: Which listens of each sequence have a positive signal; None means all. The others are inputs, never
            targets.
    """

    sequences: Sequence[Int32Array]
    codes: Int32Array
    item_vectors: Float32Array
    validation: Cases
    is_liked: Sequence[npt.NDArray[np.bool_]] | None = None


@dataclass(frozen=True, slots=True)
class TrainedGenerator:
    """Result of a training.

    Args:
        model: The network, in evaluation mode.
        item_vectors: Learned u; undefined for items without a liked training listen. Shape: (num_items, D).
        curve: One point per epoch.
    """

    model: GenModel
    item_vectors: Float32Array
    curve: tuple[CurvePoint, ...]


def fit(
    data: TrainingData, config: NetworkConfig, settings: TrainSettings, progress: ProgressCallback
) -> TrainedGenerator:
    """Train a generator.

    Args:
        data: Sequences, SIDs and initial item vectors.
        config: Configuration of the network.
        settings: Training settings.
        progress: Called after every step.

    Returns:
        The trained network, its item vectors and the curve.

    Raises:
        TrainingError: There is no usable data, or the loss is not finite.
    """
    with _torch_state(settings):
        return _Loop(data, config, settings, progress).run()


class _Loop:
    """State of one training."""

    def __init__(
        self, data: TrainingData, config: NetworkConfig, settings: TrainSettings, progress: ProgressCallback
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._data = data
        self._rng = np.random.default_rng(settings.seed)
        self._batches = Batches(
            data.sequences, data.codes, config.max_len, settings.batch_positions, settings.min_batches, data.is_liked
        )
        self._steps = min(settings.max_steps, settings.epochs * self._batches.steps_per_epoch())
        self._model = GenModel(config, settings.seed)
        self._u = nn.Parameter(torch.from_numpy(data.item_vectors.copy()))
        self._codes = torch.from_numpy(data.codes.astype(np.int64))
        # Negatives are only items that occur in training: others would only be pushed away from all listeners.
        self._listened = np.unique(np.concatenate(data.sequences).astype(np.int64))
        self._parameters = [*self._model.parameters(), self._u]
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._watched = data.validation.sample(_CURVE_LISTENERS, np.random.default_rng(settings.seed))

    def run(self) -> TrainedGenerator:
        curve: list[CurvePoint] = []
        step = 0
        # The number of steps is an estimate (window strides vary), so the last epoch may end before the rate reaches 0.
        while step < self._steps and len(curve) < self._settings.epochs:
            self._model.train()
            self._model.drop.redraw()
            losses = []
            for batch in self._batches.epoch(self._rng):
                losses.append(self._step(batch, step))
                step += 1
                self._progress(TrainProgress("train", step, self._steps))
                if step == self._steps:
                    break
            self._model.eval()
            curve.append(self._point(len(curve) + 1, step, np.array(losses)))
            self._progress(TrainProgress("train", step, self._steps, _note(curve[-1])))
        return TrainedGenerator(self._model, self._u.detach().numpy().copy(), tuple(curve))

    def _step(self, batch: Batch, step: int) -> tuple[float, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._settings.autocast_bf16):
            levels, items = self._losses(batch)
        loss = levels + self._settings.item_loss_weight * items
        if not math.isfinite(loss.item()):
            msg = (
                f"training: loss is {loss.item()} at step {step + 1} of {self._steps}, expected a number; "
                f"lower train.learning_rate (now {self._settings.learning_rate})"
            )
            raise TrainingError(msg)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm)
        self._optimizer.step()
        return levels.item(), items.item()

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        model, valid = self._model, torch.from_numpy(batch.valid)
        items = torch.from_numpy(batch.items)
        u = self._u[items] * valid.unsqueeze(-1)
        tokens = model.tokens(torch.from_numpy(batch.codes), u)
        # A batch without padding uses the fast path of attention.
        asked = torch.from_numpy(batch.asked)
        hidden = model.encode(tokens, None if bool(valid.all()) else valid)[asked]
        targets = torch.from_numpy(batch.targets)[asked]
        codes = self._codes[targets]
        negatives = torch.from_numpy(self._draw_negatives())
        return (
            level_loss(model.level_logits(hidden, codes), codes),
            item_loss(hidden, self._vectors(targets), targets, self._vectors(negatives), negatives),
        )

    def _vectors(self, items: Tensor) -> Tensor:
        return self._model.item_vectors(self._codes[items], self._model.drop_item_vectors(self._u[items]))

    def _draw_negatives(self) -> npt.NDArray[np.int64]:
        if len(self._listened) <= self._settings.num_negatives:
            return self._listened
        return self._rng.choice(self._listened, self._settings.num_negatives, replace=False, shuffle=False)

    def _rate(self, step: int) -> float:
        warmup = min(self._settings.warmup_steps, self._steps // 10)
        rising = min(1.0, (step + 1) / (warmup + 1))
        return self._settings.learning_rate * rising * 0.5 * (1.0 + math.cos(math.pi * step / self._steps))

    def _point(self, epoch: int, step: int, losses: npt.NDArray[np.float64]) -> CurvePoint:
        levels, items = losses.mean(axis=0).tolist()
        every = max(1, self._settings.epochs // _CURVE_MEASUREMENTS)
        recall = None
        if len(self._watched.targets) and (epoch % every == 0 or epoch == self._settings.epochs):
            ranks = dense_ranks(self._model, self._u.detach(), self._data.codes, self._watched, exclude_seen=True)
            recall = recall_at(ranks, 10).value
        return CurvePoint(epoch, step, self._rate(step - 1), levels, items, recall)


def _note(point: CurvePoint) -> str:
    recall = (
        ""
        if point.validation_recall_at_10 is None
        else f", validation R@10 x (seen items left out) {point.validation_recall_at_10:.4f}"
    )
    return f"epoch {point.epoch}: level loss {point.level_loss:.3f}, item loss {point.item_loss:.3f}{recall}"


@contextmanager
def _torch_state(settings: TrainSettings) -> Iterator[None]:
    """Seed torch and set its threads, and restore both afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        torch.set_num_threads(settings.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
