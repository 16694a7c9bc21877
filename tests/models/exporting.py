"""A complete model artifact of an untrained network."""

from safetensors.torch import save_file

from sidestream.models.artifact import ONNX_NAME, WEIGHTS_NAME, load_model_artifact, seal, write_model_files
from sidestream.models.export import export_onnx
from sidestream.tokenizer.folders import publish_folder


def export_artifact(model, folder, config, item_table, metrics, *, with_weights=True):
    """Write an artifact and read it back.

    Args:
        model: The network.
        folder: Artifact folder; must be free.
        config: Its configuration.
        item_table: Item vectors.
        metrics: Content of `metrics.json`.
        with_weights: Also keep the weights.
    """
    with publish_folder(folder) as draft:
        write_model_files(draft, config, item_table, metrics)
        export_onnx(model, draft / ONNX_NAME, config.graph_metadata())
        if with_weights:
            weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
            save_file(weights, draft / WEIGHTS_NAME)
        seal(draft)
    return load_model_artifact(folder, config.tokenizer_version)
