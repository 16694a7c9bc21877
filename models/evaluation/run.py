"""Evaluation of generator and baselines on the held-out items of a log folder; does not need torch."""

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
from sidestream.models.evaluation.leave_one_out import Cases, Column, Progress, evaluate_rankers
from sidestream.models.evaluation.report import report
from sidestream.models.settings import EngineSettings
from sidestream.tokenizer.tokenizer import CatalogTokenizer

# Of the figures that are named without a column.
HEADLINE_COLUMN: Column = "seen_excluded"


def held_out_cases(sequences: Sequences, role: Role) -> Cases:
    """Build test cases from held-out items.

    Args:
        sequences: A folder's listens.
        role: `valid`: the validation item after the training listens; `test`: the test item after all listens.

    Returns:
        One case per listener with a held-out item and a listen before it; others would be served by popularity.
    """
    targets = sequences.valid if role == "valid" else sequences.test
    inputs = sequences.train if role == "valid" else sequences.history
    asked = [index for index, target in enumerate(targets.tolist()) if target >= 0 and len(inputs[index])]
    histories = [inputs[index] for index in asked]
    liked = [sequences.is_liked[index][: len(inputs[index])] for index in asked]
    return Cases(histories, targets[asked], liked)


def baselines(sequences: Sequences) -> dict[str, Ranker]:
    """Build the baselines from the liked listens of the training part only.

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
    """Evaluate a model and the baselines on every held-out test item of a folder.

    Args:
        folder: Log folder with a split.
        tokenizer: The tokenizer that the model was trained on.
        artifact: The model.
        settings: Beam and threads.
        max_listeners: Size of a sample of the listeners, drawn with a fixed seed; None uses all.
        progress: Called with the ranker's name, cases done and all cases.

    Returns:
        `report` of all rankers, with data set and versions.

    Raises:
        DataError: The folder has no usable held-out item.
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
    return {
        **_data_set(folder),
        "model_version": artifact.version,
        "headline_column": HEADLINE_COLUMN,
        **headline(written),
        **written,
    }


def generator_ranker(
    artifact: ModelArtifact, settings: EngineSettings, catalogue: EvaluationCatalogue
) -> GeneratorRanker:
    """Load the engine of an artifact as a ranker.

    Args:
        artifact: The model.
        settings: Beam, threads and, optionally, guide weights that override the artifact's.
        catalogue: All items.

    Returns:
        The generator.
    """
    return GeneratorRanker(Engine(artifact, settings), catalogue, artifact.config.network.max_len)


def headline(written: Mapping[str, Any]) -> dict[str, float]:
    """Extract the figures for summaries from a report: recall@10 and @30, seen items excluded.

    Args:
        written: Result of `report`.

    Returns:
        `recall_at_10` and `recall_at_30` for the generator; prefixed with the name for other rankers.
    """
    figures = {}
    for name, columns in written["rankers"].items():
        prefix = "" if name == "generator" else f"{name}_"
        for metric in ("recall_at_10", "recall_at_30"):
            figures[f"{prefix}{metric}"] = columns[HEADLINE_COLUMN][metric]["value"]
    return figures


def _data_set(folder: LogFolder) -> dict[str, Any]:
    manifest = folder.manifest
    return {
        "data": manifest.name,
        "events_are": manifest.events_are,
        "split": manifest.split.protocol,
        "data_identity": manifest.identity,
    }
