"""The one call that fits a tokenizer on a log folder; torch is needed for levels of kind vq alone."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.errors import DataError, TrainingError
from sidestream.models.evaluation.catalogue import item_contents
from sidestream.tokenizer.artifact import save_tokenizer
from sidestream.tokenizer.content import ContentEncoder
from sidestream.tokenizer.fitting import fit_tokenizer, report_sids
from sidestream.tokenizer.levels import Quantizer, level_sizes
from sidestream.tokenizer.quality.cold_start import measure_cold_start
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.sid import item_keys
from sidestream.tokenizer.tokenizer import CatalogTokenizer

Progress = Callable[[str, int, int], None]
"""Called with the stage, units done, and units in all (1: it cannot be counted)."""
# A multiple of what encoders take at once: their batches stay as they are.
_COUNTED_TEXTS = 1_024


@dataclass(frozen=True, slots=True)
class FittedTokenizer:
    """A fitted tokenizer and how it spreads its catalogue.

    Args:
        tokenizer: Frozen, and saved.
        report: Counts for people.
    """

    tokenizer: CatalogTokenizer
    report: dict[str, Any]


def train_tokenizer(
    folder: LogFolder,
    out_dir: Path,
    encoder: ContentEncoder,
    settings: TokenizerSettings,
    seed: int = 0,
    *,
    with_cold_start: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> FittedTokenizer:
    """Fit a tokenizer on the training part of a log folder and save it.

    Args:
        folder: Log folder.
        out_dir: The tokenizer artifact to write; an older one there is replaced.
        encoder: Turns texts into content vectors.
        settings: Views, levels, sizes, dimensions.
        seed: Of k-means and of the randomised SVD.
        with_cold_start: Also fit without a part of the items, to tell how well content places items without listens.
        progress: Called as the work goes on.

    Returns:
        The tokenizer and its report.

    Raises:
        DataError: The folder is damaged or publishes no item.
        TrainingError: Levels of kind vq are asked for, and torch is not installed or no listens give pairs.
        ArtifactError: `out_dir` holds something else.
    """
    progress("read", 0, 1)
    sequences = training_sequences(folder)
    if not sequences.item_ids:
        msg = f"{folder.path}: expected at least one item in catalog.jsonl, got none; there is nothing to tokenize"
        raise DataError(msg)
    items = item_contents(folder, sequences.item_ids)
    rng = np.random.default_rng(seed)
    counting = _CountingEncoder(encoder, progress)
    fitted = fit_tokenizer(items, sequences.liked, counting, settings, rng, partial(train_levels, progress=progress))
    tokenizer = replace(fitted, encoder=encoder)
    progress("report", 0, 1)
    counts = report_sids(tokenizer.tokenizer, tokenizer.encode_items(items).codes)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    save_tokenizer(out_dir, tokenizer, counts)
    report = {"tokenizer_version": tokenizer.version, **asdict(counts), "listens_until": _log_end(folder)}
    if with_cold_start:
        keys = item_keys(sequences.item_ids)
        content = tokenizer.content_vectors(items)
        cold_start = measure_cold_start(keys, content, sequences.liked, settings, np.random.default_rng(seed))
        report["unheard"] = None if cold_start is None else asdict(cold_start)
    return FittedTokenizer(tokenizer, report)


class _CountingEncoder:
    """An encoder that says how far it is."""

    def __init__(self, encoder: ContentEncoder, progress: Progress) -> None:
        self._encoder, self._progress = encoder, progress

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def fingerprint(self) -> str:
        return self._encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        parts = []
        for start in range(0, len(texts), _COUNTED_TEXTS):
            self._progress("encode texts", start, len(texts))
            parts.append(self._encoder.encode(texts[start : start + _COUNTED_TEXTS]))
        self._progress("fit", 0, 1)
        return np.concatenate(parts) if parts else self._encoder.encode(texts)


def _log_end(folder: LogFolder) -> str | None:
    # What listeners say of an item stays as it was then, until another version is trained.
    last_at = folder.manifest.last_at
    return None if last_at is None else datetime.fromtimestamp(last_at / 1000, UTC).isoformat(timespec="seconds")


def train_levels(
    vectors: npt.NDArray[np.float32],
    sequences: Sequence[npt.NDArray[np.integer]],
    settings: TokenizerSettings,
    rng: np.random.Generator,
    progress: Progress = lambda stage, done, total: None,
) -> Quantizer:
    """Train levels of kind vq.

    Args:
        vectors: Representation vectors of the catalogue.

            Shape: (N, D).
        sequences: Indices of liked items for each listener, oldest first; the training part only.
        settings: Sizes, beam, and how to train.
        rng: Draws the seed.
        progress: Called after every epoch.

    Returns:
        The frozen quantizer; it needs no torch.

    Raises:
        TrainingError: Torch is not installed, or there are no pairs of items for the contrastive loss.
    """
    vq = _needs_torch("sidestream.models.training.vq")
    pairs = next_listens(sequences) if settings.vq.contrastive_weight > 0 else None
    seed = int(rng.integers(1 << 31))
    trained = vq.train_vq(
        vectors, level_sizes(settings, len(vectors)), settings.vq, seed, pairs, partial(progress, "train levels")
    )
    levels: Quantizer = replace(trained.quantizer, beam_size=settings.beam_size)
    return levels


def next_listens(sequences: Sequence[npt.NDArray[np.integer]]) -> npt.NDArray[np.int64]:
    """List which items were heard one right after the other.

    Args:
        sequences: Indices of items for each listener, oldest first.

    Returns:
        Every such pair, as often as it was heard, without an item after itself.

        Shape: (num_pairs, 2).
    """
    steps = [np.stack([rows[:-1], rows[1:]], axis=1) for rows in sequences]
    pairs = np.concatenate([*steps, np.empty((0, 2), dtype=np.int64)]).astype(np.int64)
    changes: npt.NDArray[np.bool_] = pairs[:, 0] != pairs[:, 1]
    return pairs[changes]


def _needs_torch(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        msg = "level_kinds vq need torch to be trained; run pip install 'sidestream[train]', or choose kmeans levels"
        raise TrainingError(msg) from error
