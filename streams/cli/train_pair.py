"""Trains the model of a pair folder on the tokenizer that is in it, for the command line and for the shipped pair."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidestream.models.data import LogFolder
from sidestream.streams.settings import Settings
from sidestream.tokenizer.artifact import load_tokenizer


def train_pair_model(
    settings: Settings, folder: LogFolder, pair: Path, on_step: Callable[[str, int, int, str], None]
) -> dict[str, Any]:
    """Train a model on the tokenizer of a pair folder.

    Args:
        settings: The recipe and the engine of the evaluation.
        folder: Log folder.
        pair: Holds `tokenizer/`; gets `model/`.
        on_step: Called as training goes on with stage, units done, units in all and a note.

    Returns:
        The model's metrics, with the seconds of each stage.
    """
    # Torch: for those who train only.
    from sidestream.models.training.train import train_model

    items = load_tokenizer(pair / "tokenizer")
    result = train_model(
        folder, items, pair / "model", settings.train,
        lambda at: on_step(*at.line),
        settings.engine,
    )  # fmt: skip
    return {"model_version": result.artifact.version, **result.metrics, "seconds": result.seconds}
