"""Trains the model of a pair folder with the folder's tokenizer, for the command line and for the shipped pair."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidestream.models.data import LogFolder
from sidestream.streams.settings import Settings
from sidestream.tokenizer.artifact import load_tokenizer


def train_pair_model(
    settings: Settings, folder: LogFolder, pair: Path, on_step: Callable[[str, int, int, str], None]
) -> dict[str, Any]:
    """Train a model with the tokenizer of a pair folder.

    Args:
        settings: Training settings, and engine settings of the evaluation.
        folder: Log folder.
        pair: Contains `tokenizer/`; `model/` is written to it.
        on_step: Called during the training with stage, units done, units in all and a note.

    Returns:
        The model's metrics, with the seconds of each stage.
    """
    # Imports torch, which only training needs.
    from sidestream.models.training.train import train_model

    items = load_tokenizer(pair / "tokenizer")
    result = train_model(
        folder, items, pair / "model", settings.train,
        lambda at: on_step(*at.line),
        settings.engine,
    )  # fmt: skip
    return {"model_version": result.artifact.version, **result.metrics, "seconds": result.seconds}
