"""Writes the ONNX graph of a model artifact anew from its weights: after a change of the graph, without training."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from models.artifact import WEIGHTS_NAME, load_model_artifact
from models.errors import TrainingError
from models.export import export_artifact
from models.network import GenModel


def reexport(folder: Path) -> dict[str, Any]:
    """Export a model again in its place.

    Args:
        folder: Model artifact with weights.

    Returns:
        Versions before and after.

    Raises:
        ArtifactError: The artifact is damaged.
        TrainingError: It was shipped without weights, or they do not fit its configuration.
    """
    artifact = load_model_artifact(folder)
    weights = folder / WEIGHTS_NAME
    if not weights.exists():
        msg = f"{folder}: expected {WEIGHTS_NAME}, got a model shipped without weights; train it again"
        raise TrainingError(msg)
    model = GenModel(artifact.config.network)
    try:
        model.load_state_dict(load_file(weights))
    except RuntimeError as exc:
        msg = f"{weights}: weights do not fit config.json ({exc}); train it again"
        raise TrainingError(msg) from exc
    fresh = export_artifact(model.eval(), folder, artifact.config, artifact.item_table, artifact.metrics)
    return {"before": artifact.version, "after": fresh.version, "folder": str(folder)}
