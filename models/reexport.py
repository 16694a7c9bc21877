"""Writes the ONNX graph of a model artifact anew from its weights: after a change of the graph, without training."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from sidestream.models.artifact import ONNX_NAME, WEIGHTS_NAME, load_model_artifact, seal
from sidestream.models.errors import TrainingError
from sidestream.models.export import ITEM_VECTORS_TENSOR, export_onnx
from sidestream.models.network import GenModel


def reexport(folder: Path) -> dict[str, Any]:
    """Export a model again in its place; all but the graph stays as training left it.

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
    tensors = load_file(weights)
    # Training keeps the learned item vectors there too; serving has them in the item table, the graph not at all.
    tensors.pop(ITEM_VECTORS_TENSOR, None)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as exc:
        msg = f"{weights}: weights do not fit config.json ({exc}); train it again"
        raise TrainingError(msg) from exc
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "model"
        shutil.copytree(folder, fresh)
        export_onnx(model.eval(), fresh / ONNX_NAME, artifact.config.graph_metadata())
        seal(fresh)
        folder.rename(Path(scratch) / "replaced")
        fresh.rename(folder)
    after = load_model_artifact(folder, artifact.config.tokenizer_version)
    return {"before": artifact.version, "after": after.version, "folder": str(folder)}
