"""Owns the one call that fits a tokenizer on a log folder (torch-free)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.data import LogFolder, training_sequences
from models.errors import DataError
from models.evaluation.catalogue import item_contents
from tokenizer.artifact import save_tokenizer
from tokenizer.content import ContentEncoder
from tokenizer.fitting import fit_tokenizer, report_sids
from tokenizer.settings import TokenizerSettings
from tokenizer.tokenizer import CatalogTokenizer


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
    folder: LogFolder, out_dir: Path, encoder: ContentEncoder, settings: TokenizerSettings, seed: int = 0
) -> FittedTokenizer:
    """Fit a tokenizer on the training part of a log folder and save it.

    Args:
        folder: Log folder.
        out_dir: The tokenizer artifact to write; an older one there is replaced.
        encoder: Turns texts into content vectors.
        settings: Views, levels, sizes, dimensions.
        seed: Of k-means and of the randomised SVD.

    Returns:
        The tokenizer and its report.

    Raises:
        DataError: The folder is damaged or publishes no item.
        ArtifactError: `out_dir` holds something else.
    """
    sequences = training_sequences(folder)
    if not sequences.item_ids:
        msg = f"{folder.path}: expected at least one item in catalog.jsonl, got none; there is nothing to tokenize"
        raise DataError(msg)
    items = item_contents(folder, sequences.item_ids)
    rng = np.random.default_rng(seed)
    tokenizer = fit_tokenizer(items, sequences.train, encoder, settings, rng)
    counts = report_sids(tokenizer.tokenizer, tokenizer.encode_items(items).codes)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    save_tokenizer(out_dir, tokenizer, counts)
    return FittedTokenizer(tokenizer, {"tokenizer_version": tokenizer.version, **asdict(counts)})
