"""Trains the model of a pair folder with the folder's tokenizer, for the command line and for the shipped pair."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidestream.models.artifact import replace_model
from sidestream.models.data import LogFolder
from sidestream.streams.cli.output import say
from sidestream.streams.generations.pair import pair_part
from sidestream.streams.settings import Settings
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.folders import require_place


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

    Raises:
        ArtifactError: The pair has no tokenizer, or its `model/` is something else; before torch is loaded.
    """
    items = load_tokenizer(pair_part(pair, "tokenizer"))
    require_place(pair / "model", replace_model)
    # Only training needs it; loading takes up to 20 s.
    say("loading PyTorch …")
    from sidestream.models.training.train import train_model

    result = train_model(
        folder, items, pair / "model", settings.train,
        lambda at: on_step(*at.line),
        settings.engine,
    )  # fmt: skip
    return {"model_version": result.artifact.version, **result.metrics, "seconds": result.seconds}
