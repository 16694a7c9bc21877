"""Re-export of a trained model from its weights, without training, after a change of the graph."""

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from sidestream.models.artifact import ONNX_NAME, load_model_artifact, require_weights, seal
from sidestream.models.errors import TrainingError
from sidestream.models.export import ITEM_VECTORS_TENSOR, export_onnx
from sidestream.models.network import GenModel
from sidestream.tokenizer.folders import publish_folder
from sidestream.tokenizer.manifest import MANIFEST_NAME


def reexport(folder: Path) -> dict[str, Any]:
    """Export a model again in place; everything but the graph is unchanged.

    Args:
        folder: Model artifact with weights.

    Returns:
        Versions before and after.

    Raises:
        ArtifactError: The artifact is damaged.
        TrainingError: The artifact has no weights, they do not fit its configuration, or another process replaced the
            artifact meanwhile.
    """
    artifact = load_model_artifact(folder)
    weights = require_weights(artifact)
    model = GenModel(artifact.config.network)
    tensors = load_file(weights)
    # The weights also contain the learned item vectors, which serving reads from the item table.
    tensors.pop(ITEM_VECTORS_TENSOR, None)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as exc:
        msg = f"{weights}: weights do not fit config.json ({exc}); train it again"
        raise TrainingError(msg) from exc

    manifest = (folder / MANIFEST_NAME).read_bytes()

    def require_unchanged(place: Path) -> None:
        if (place / MANIFEST_NAME).read_bytes() != manifest:
            msg = f"{place}: expected model {artifact.version}, but it was replaced meanwhile; export again"
            raise TrainingError(msg)

    with publish_folder(folder, require_unchanged) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        export_onnx(model.eval(), draft / ONNX_NAME, artifact.config.graph_metadata())
        seal(draft)
    after = load_model_artifact(folder, artifact.config.tokenizer_version)
    return {"before": artifact.version, "after": after.version, "folder": str(folder)}
