"""Owns a whole evaluation: held-out items of a log folder, asked of baselines and generator alike (torch-free)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sidestream.models.artifact import ModelArtifact
from sidestream.models.baselines import ItemKnn, Popularity, Ranker
from sidestream.models.data import LogFolder, Role, Sequences, training_sequences
from sidestream.models.engine import Engine
from sidestream.models.errors import DataError
from sidestream.models.evaluation.catalogue import EvaluationCatalogue, build_catalogue, item_contents
from sidestream.models.evaluation.generator import GeneratorRanker
from sidestream.models.evaluation.leave_one_out import Cases, Progress, evaluate_rankers
from sidestream.models.evaluation.report import report
from sidestream.models.settings import EngineSettings
from sidestream.tokenizer.tokenizer import CatalogTokenizer


def held_out_cases(sequences: Sequences, role: Role) -> Cases:
    """Turn held-out items into questions.

    Args:
        sequences: A folder's listens.
        role: `valid` asks for the validation item after the training listens, `test` for the test item after all.

    Returns:
        One case for each listener who has a held-out item and a listen before it; others are served by popularity.
    """
    targets = sequences.valid if role == "valid" else sequences.test
    inputs = sequences.train if role == "valid" else sequences.history
    asked = [index for index, target in enumerate(targets.tolist()) if target >= 0 and len(inputs[index])]
    histories = [inputs[index] for index in asked]
    liked = [sequences.is_liked[index][: len(inputs[index])] for index in asked]
    return Cases(histories, targets[asked], liked)


def baselines(sequences: Sequences) -> dict[str, Ranker]:
    """Build the rankers that need no training, from the liked listens of the training part alone.

    Args:
        sequences: A folder's listens.

    Returns:
        By name: `popularity` and `item_knn`.
    """
    size = len(sequences.item_ids)
    return {"popularity": Popularity(sequences.liked, size), "item_knn": ItemKnn(sequences.liked, size)}


def evaluate(
    folder: LogFolder,
    tokenizer: CatalogTokenizer,
    artifact: ModelArtifact,
    settings: EngineSettings,
    max_listeners: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask a model and the baselines for every held-out test item of a folder.

    Args:
        folder: Log folder with a split.
        tokenizer: The tokenizer that the model was trained on.
        artifact: The model.
        settings: Beam and threads.
        max_listeners: A sample of the listeners, drawn with a fixed seed; None asks all.
        progress: Called with the ranker's name, questions answered and questions in all.

    Returns:
        `report` of all rankers, with data set and versions.

    Raises:
        DataError: The folder has no held-out item to ask for.
    """
    sequences = training_sequences(folder)
    cases = held_out_cases(sequences, "test")
    if not len(cases.targets):
        msg = (
            f"{folder.path}: expected held-out test items of listeners with listens, got none "
            f"(split: {folder.manifest.split.protocol}); import the data with a split"
        )
        raise DataError(msg)
    if max_listeners is not None:
        cases = cases.sample(max_listeners, np.random.default_rng(0))
    encoded = tokenizer.encode_items(item_contents(folder, sequences.item_ids))
    catalogue = build_catalogue(
        sequences.item_ids, encoded, tokenizer, artifact.config.network.d_model, artifact.item_table.vectorize
    )
    rankers = {**baselines(sequences), "generator": generator_ranker(artifact, settings, catalogue)}
    written = report(evaluate_rankers(rankers, cases, progress))
    return {**_data_set(folder), "model_version": artifact.version, **headline(written), **written}


def generator_ranker(
    artifact: ModelArtifact, settings: EngineSettings, catalogue: EvaluationCatalogue
) -> GeneratorRanker:
    """Load the engine of an artifact as a ranker.

    Args:
        artifact: The model.
        settings: Beam, threads and, where given, other guide weights than the artifact's.
        catalogue: All items.

    Returns:
        The generator.
    """
    return GeneratorRanker(Engine(artifact, settings), catalogue, artifact.config.network.max_len)


def headline(written: Mapping[str, Any]) -> dict[str, float]:
    """Pull the figures that summaries show out of a report: recall@10 and @30, seen items excluded.

    Args:
        written: What `report` returned.

    Returns:
        `recall_at_10` and `recall_at_30` for the generator; for other rankers with their name before it.
    """
    figures = {}
    for name, columns in written["rankers"].items():
        prefix = "" if name == "generator" else f"{name}_"
        for metric in ("recall_at_10", "recall_at_30"):
            figures[f"{prefix}{metric}"] = columns["seen_excluded"][metric]["value"]
    return figures


def _data_set(folder: LogFolder) -> dict[str, Any]:
    manifest = folder.manifest
    return {
        "data": manifest.name,
        "events_are": manifest.events_are,
        "split": manifest.split.protocol,
        "data_identity": manifest.identity,
    }
