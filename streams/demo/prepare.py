"""What the demo plays and serves: the shipped pair with the built-in world, or a pair trained on real data here."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sidestream.models.artifact import load_model_artifact
from sidestream.models.data import LogFolder
from sidestream.models.data.importers.lastfm import import_lastfm
from sidestream.models.data.importers.s3rec import import_s3rec
from sidestream.models.errors import DataError
from sidestream.models.training.tokenizer import train_tokenizer
from sidestream.models.world import generate_world
from sidestream.streams.demo.shipped import SHIPPED_WORLD, shipped_pair
from sidestream.streams.settings import Settings
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.encoders import open_encoder
from sidestream.tokenizer.errors import ArtifactError

TrainModel = Callable[[Settings, LogFolder, Path], dict[str, Any]]
DataKind = Literal["log", "lastfm", "s3rec"]
_DONE = "trained-on.json"
_WEEK_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Programme:
    """What is played and what serves it.

    Attributes:
        folder: The log.
        pair: Artifacts that serve.
        metrics: The model's evaluation, None for the shipped pair's.
        was_trained: Whether the pair was trained just now.
        shift_ms: Added to all times of the log, so that an invented one ends now; 0 for real data.
    """

    folder: LogFolder
    pair: Path
    metrics: Mapping[str, Any]
    was_trained: bool
    shift_ms: int = 0


def prepare_world(place: Path, now_ms: int) -> Programme:
    """Generate the built-in world for the shipped pair; its last week is the present one.

    Args:
        place: Folder of the demo.
        now_ms: UTC epoch ms. Whole weeks are added, so that days of the week and hours stay as they were.

    Returns:
        What is played and what serves it.

    Raises:
        ArtifactError: The shipped pair is missing or damaged.
    """
    pair = shipped_pair()
    if not (pair / "model").is_dir():
        msg = f"{pair}: expected the shipped demo pair, got none; rebuild it with `make demo-artifact`"
        raise ArtifactError(msg)
    generate_world(place / "world", SHIPPED_WORLD, overwrite=True)
    artifact = load_model_artifact(pair / "model")
    folder = LogFolder(place / "world")
    shift_ms = (now_ms - (folder.manifest.last_at or now_ms)) // _WEEK_MS * _WEEK_MS
    return Programme(folder, pair, artifact.metrics, was_trained=False, shift_ms=shift_ms)


def prepare_data(place: Path, data: Path, kind: DataKind, settings: Settings, train_model: TrainModel) -> Programme:
    """Import real data and train a pair on it; a pair trained on the same data and recipe before is kept.

    Args:
        place: Folder of the demo.
        data: Folder of HetRec Last.fm, a sequence file, or a log folder.
        kind: Which of them it is.
        settings: Recipes.
        train_model: Trains `pair/model` on `pair/tokenizer`.

    Returns:
        What is played and what serves it.

    Raises:
        DataError: The data are damaged.
    """
    folder = _imported(place / "log", data, kind, settings)
    pair = place / "pair"
    recipe = {
        "data": folder.manifest.identity,
        "tokenizer": settings.tokenizer.model_dump(mode="json"),
        "train": settings.train.model_dump(mode="json"),
        "engine": settings.engine.model_dump(mode="json"),
    }
    mark = pair / _DONE
    is_new = not mark.is_file() or json.loads(mark.read_text()) != recipe
    if is_new:
        mark.unlink(missing_ok=True)
        encoder = open_encoder(settings.tokenizer.encoder)
        train_tokenizer(folder, pair / "tokenizer", encoder, settings.tokenizer, settings.train.seed)
        train_model(settings, folder, pair)
        mark.write_text(json.dumps(recipe))
    tokenizer = load_tokenizer(pair / "tokenizer")
    return Programme(folder, pair, load_model_artifact(pair / "model", tokenizer.version).metrics, was_trained=is_new)


def kind_of_data(data: Path) -> DataKind:
    """Recognise what a person wants to play, before anything is made for it.

    Args:
        data: Folder or file.

    Returns:
        What it is.

    Raises:
        DataError: It is nothing that can be played.
    """
    if (data / "manifest.json").is_file():
        return "log"
    if (data / "user_taggedartists.dat").is_file():
        return "lastfm"
    if data.is_file() and data.suffix == ".txt":
        return "s3rec"
    msg = (
        f"{data}: expected a folder with user_taggedartists.dat (HetRec Last.fm), a sequence file NAME.txt, or a "
        "log folder with manifest.json; got none of them"
    )
    raise DataError(msg)


def _imported(target: Path, data: Path, kind: DataKind, settings: Settings) -> LogFolder:
    if kind == "log":
        return LogFolder(data)
    if kind == "lastfm":
        import_lastfm(data, target, settings.importing, overwrite=True)
    else:
        import_s3rec(data, target, settings.importing, overwrite=True)
    return LogFolder(target)
