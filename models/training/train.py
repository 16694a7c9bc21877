"""Training of a model artifact, with its evaluation, from a log folder and a tokenizer.

The artifact's folder appears under its name only once it is complete. Nothing in it depends on the clock: equal data,
seed and settings on one thread give an equal manifest on one machine; times are returned, not stored.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.models.artifact import ModelArtifact
from sidestream.models.data import LogFolder, Sequences, training_sequences
from sidestream.models.evaluation import Cases, evaluate_rankers, report
from sidestream.models.evaluation.catalogue import EvaluationCatalogue, build_catalogue, item_contents
from sidestream.models.evaluation.run import HEADLINE_COLUMN, baselines, generator_ranker, headline, held_out_cases
from sidestream.models.item_table import ItemTable
from sidestream.models.settings import EngineSettings
from sidestream.models.training.diagnostics import dense_scores
from sidestream.models.training.guide import GuideTrial, choose_guide
from sidestream.models.training.item_vectors import initial_item_vectors
from sidestream.models.training.loop import TrainedGenerator, TrainingData, fit
from sidestream.models.training.output import DraftArtifact
from sidestream.models.training.progress import ProgressCallback, Stage, TrainProgress, ignore_progress
from sidestream.models.training.settings import TrainSettings
from sidestream.tokenizer.tokenizer import CatalogTokenizer, EncodedItems

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Result of a training.

    Args:
        artifact: The finished artifact, verified.
        metrics: Content of its `metrics.json`.
        seconds: Wall time of each stage.
    """

    artifact: ModelArtifact
    metrics: dict[str, Any]
    seconds: dict[str, float]


def train_model(
    folder: LogFolder,
    tokenizer: CatalogTokenizer,
    out_dir: Path,
    settings: TrainSettings,
    progress: ProgressCallback = ignore_progress,
    engine: EngineSettings | None = None,
) -> TrainResult:
    """Train a generator, export it, choose its guide weights and evaluate it against the baselines.

    Args:
        folder: Log folder; its split determines the held-out listens.
        tokenizer: Tokenizer fitted on the training part of the same folder.
        out_dir: The model artifact to write; an existing model artifact is replaced.
        settings: Training settings.
        progress: Called with the progress of the training.
        engine: Beam of the evaluation; defaults to the serving defaults.

    Returns:
        The artifact with metrics and times.

    Raises:
        DataError: The folder is damaged.
        TrainingError: There is no usable data, the loss diverged, or the export failed.
        ArtifactError: `out_dir` exists and is not a model artifact.
    """
    return _Training(folder, tokenizer, settings, progress, engine or EngineSettings()).run(out_dir)


@dataclass(frozen=True, slots=True)
class _Items:
    """The catalogue in arrays. Shape: x (num_items, dim_x), counts (num_items,)."""

    ids: tuple[str, ...]
    encoded: EncodedItems
    x: Float32Array
    counts: Int32Array


class _Training:
    def __init__(
        self,
        folder: LogFolder,
        tokenizer: CatalogTokenizer,
        settings: TrainSettings,
        progress: ProgressCallback,
        engine: EngineSettings,
    ) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._settings = settings
        self._progress = progress
        self._engine = engine
        self._seconds: dict[str, float] = {}

    def run(self, out_dir: Path) -> TrainResult:
        with DraftArtifact(out_dir, self._folder.manifest, self._tokenizer, self._settings) as draft:
            return self._run(draft)

    def _run(self, draft: DraftArtifact) -> TrainResult:
        with self._stage("prepare"):
            sequences = training_sequences(self._folder)
            items = self._items(sequences)
            validation = held_out_cases(sequences, "valid")
            start = self._start(sequences)
        with self._stage("train"):
            data = TrainingData(sequences.train, items.encoded.codes, start, validation, sequences.train_is_liked)
            trained = fit(data, draft.network, self._settings, self._progress)
        with self._stage("export"):
            artifact = draft.write(trained, self._item_table(items, trained))
            catalogue = build_catalogue(
                items.ids, items.encoded, self._tokenizer, self._settings.d_model, artifact.item_table.vectorize
            )
        with self._stage("guide"):
            trials = self._guide(artifact, catalogue, validation)
            artifact = draft.set_guide(trials[0].gamma, trials[0].beta)
        with self._stage("evaluate"):
            metrics = self._metrics(artifact, catalogue, sequences, trained, trials)
        return TrainResult(draft.finish(metrics), metrics, self._seconds)

    def _items(self, sequences: Sequences) -> _Items:
        encoded = self._tokenizer.encode_items(item_contents(self._folder, sequences.item_ids))
        # Quantized to int8 with a scale, as workers read it.
        x = encoded.vectors.astype(np.float32) * encoded.scales[:, None]
        listens = np.concatenate([*sequences.liked, np.empty(0, np.int32)]).astype(np.int64)
        counts = np.bincount(listens, minlength=len(sequences.item_ids)).astype(np.int32)
        return _Items(sequences.item_ids, encoded, x, counts)

    def _start(self, sequences: Sequences) -> Float32Array:
        settings = self._settings
        return initial_item_vectors(
            sequences.liked,
            len(sequences.item_ids),
            settings.d_model,
            settings.item_vector_norm,
            settings.cooccurrence_window,
            np.random.default_rng(settings.seed),
        )

    def _item_table(self, items: _Items, trained: TrainedGenerator) -> ItemTable:
        return ItemTable.fit(
            items.ids,
            trained.item_vectors,
            items.counts,
            trained.model.code_embedding.detach().numpy(),
            self._tokenizer.codebook_sizes,
            items.x,
            l2=self._settings.ridge,
        )

    def _guide(self, artifact: ModelArtifact, catalogue: EvaluationCatalogue, validation: Cases) -> list[GuideTrial]:
        rng = np.random.default_rng(self._settings.seed)
        cases = validation.sample(self._settings.validation_listeners, rng)
        pairs = self._settings.guide_weights
        total, done = 2 * len(pairs) * len(cases.targets), 0

        def count(step: int) -> None:
            nonlocal done
            done += step
            self._progress(TrainProgress("guide", done, total))

        return choose_guide(
            pairs,
            lambda gamma, beta: generator_ranker(
                artifact, self._engine.model_copy(update={"gamma": gamma, "beta": beta}), catalogue
            ),
            cases,
            count,
        )

    def _metrics(
        self,
        artifact: ModelArtifact,
        catalogue: EvaluationCatalogue,
        sequences: Sequences,
        trained: TrainedGenerator,
        trials: list[GuideTrial],
    ) -> dict[str, Any]:
        cases = held_out_cases(sequences, "test")
        rankers = {**baselines(sequences), "generator": generator_ranker(artifact, self._engine, catalogue)}
        scores = evaluate_rankers(
            rankers, cases, lambda name, done, total: self._progress(TrainProgress("evaluate", done, total, name))
        )
        scores["dense_head"] = dense_scores(trained.model, trained.item_vectors, catalogue.codes, cases)
        written = report(scores)
        last = trained.curve[-1]
        return {
            "headline_column": HEADLINE_COLUMN,
            **headline(written),
            "level_loss": round(last.level_loss, 4),
            "item_loss": round(last.item_loss, 4),
            "guide": [{"gamma": t.gamma, "beta": t.beta, "ndcg_at_10": round(t.ndcg_at_10, 6)} for t in trials],
            "evaluation": written,
            "settings": self._settings.model_dump(mode="json"),
        }

    @contextmanager
    def _stage(self, stage: Stage) -> Iterator[None]:
        self._progress(TrainProgress(stage, 0, 1))
        begun = time.perf_counter()
        yield
        self._seconds[stage] = round(time.perf_counter() - begun, 2)
