"""Fitting of a tokenizer on a log folder; needs torch only for levels of kind vq."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.errors import DataError, TrainingError
from sidestream.models.evaluation.catalogue import item_contents
from sidestream.tokenizer.artifact import replace_tokenizer, save_tokenizer
from sidestream.tokenizer.content import ContentEncoder
from sidestream.tokenizer.fitting import fit_tokenizer, report_sids
from sidestream.tokenizer.folders import require_place
from sidestream.tokenizer.levels import Quantizer, level_sizes
from sidestream.tokenizer.quality.cold_start import measure_cold_start
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.sid import item_keys
from sidestream.tokenizer.tokenizer import CatalogTokenizer

Progress = Callable[[str, int, int], None]
"""Called with the stage, units done, and all units (1: unknown)."""
# A multiple of the encoders' batch size, so that their batches are unchanged.
_COUNTED_TEXTS = 1_024


@dataclass(frozen=True, slots=True)
class FittedTokenizer:
    """A fitted tokenizer and its report.

    Args:
        tokenizer: The frozen tokenizer, already saved.
        report: Distribution of the catalogue over SIDs.
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
        out_dir: The tokenizer artifact to write; an existing one is replaced.
        encoder: Encodes texts as content vectors.
        settings: Views, levels, sizes, dimensions.
        seed: Seed of k-means and of the randomized SVD.
        with_cold_start: Whether to also fit without a part of the items, to measure the quality for items without
            listens.
        progress: Called as the work proceeds.

    Returns:
        The tokenizer and its report.

    Raises:
        DataError: The folder is damaged or publishes no item.
        TrainingError: Levels of kind vq are set, and torch is not installed or the listens give no pairs.
        ArtifactError: `out_dir` exists and is not a tokenizer artifact, or nothing can be published there.
    """
    if "vq" in settings.kinds:
        _require_torch()
    require_place(out_dir, replace_tokenizer)
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
    save_tokenizer(out_dir, tokenizer, counts)
    report = {"tokenizer_version": tokenizer.version, **asdict(counts), "listens_until": _moment(sequences.liked_until)}
    if with_cold_start:
        keys = item_keys(sequences.item_ids)
        content = tokenizer.content_vectors(items)
        cold_start = measure_cold_start(keys, content, sequences.liked, settings, np.random.default_rng(seed))
        report["unheard"] = None if cold_start is None else asdict(cold_start)
    return FittedTokenizer(tokenizer, report)


class _CountingEncoder:
    """An encoder that reports progress."""

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


def _moment(at: int | None) -> str | None:
    # Collaborative vectors stay as of this time until another version is trained.
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")


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
        settings: Sizes, beam, and training settings.
        rng: Draws the seed.
        progress: Called after every epoch.

    Returns:
        The frozen quantizer, which does not need torch.

    Raises:
        TrainingError: Torch is not installed, or there are no pairs of items for the contrastive loss.
    """
    _require_torch()
    progress("load PyTorch", 0, 1)
    from sidestream.models.training import vq

    pairs = next_listens(sequences) if settings.vq.contrastive_weight > 0 else None
    seed = int(rng.integers(1 << 31))
    trained = vq.train_vq(
        vectors, level_sizes(settings, len(vectors)), settings.vq, seed, pairs, partial(progress, "train levels")
    )
    levels: Quantizer = replace(trained.quantizer, beam_size=settings.beam_size)
    return levels


def next_listens(sequences: Sequence[npt.NDArray[np.integer]]) -> npt.NDArray[np.int64]:
    """List pairs of items that were heard directly one after the other.

    Args:
        sequences: Indices of items for each listener, oldest first.

    Returns:
        Every such pair, as often as it occurs, except for pairs of equal items.

        Shape: (num_pairs, 2).
    """
    steps = [np.stack([rows[:-1], rows[1:]], axis=1) for rows in sequences]
    pairs = np.concatenate([*steps, np.empty((0, 2), dtype=np.int64)]).astype(np.int64)
    changes: npt.NDArray[np.bool_] = pairs[:, 0] != pairs[:, 1]
    return pairs[changes]


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        msg = "training levels of kind vq needs torch; run pip install 'sidestream[train]', or choose kmeans levels"
        raise TrainingError(msg)
