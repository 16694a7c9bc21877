import numpy as np
import pytest


class Trained:
    """One exported artifact with the network it came from, as arrays for the reference."""

    def __init__(self, artifact, weights):
        self.artifact = artifact
        self.weights = weights


def lively_model(config, seed):
    """Return a network with weights large enough that codes differ clearly in probability."""
    import torch

    from sidestream.models.network import GenModel

    torch.set_num_threads(1)
    model = GenModel(config, seed=seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("_embedding"):
                weight *= 15.0
            elif weight.dim() == 1:
                weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    return model


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Export a config once per test session; every case reuses it."""
    pytest.importorskip("torch")
    from sidestream.models.artifact import ModelConfig
    from sidestream.models.item_table import ItemTable
    from tests.models.exporting import export_artifact

    made = {}

    def make(config, tokenizer_version="tok"):
        if config not in made:
            model = lively_model(config, seed=len(made))
            table = ItemTable(
                config.codebook_sizes,
                np.empty(0, np.uint64),
                np.empty((0, config.d_model), np.float16),
                np.empty(0, np.int32),
                model.code_embedding.detach().numpy(),
                np.zeros((9, config.d_model), np.float32),
            )
            model_config = ModelConfig(tokenizer_version=tokenizer_version, network=config, trained_on="nothing")
            folder = tmp_path_factory.mktemp("artifact") / "model"
            artifact = export_artifact(model, folder, model_config, table, {"recall_at_10": 0.5}, with_weights=True)
            weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
            made[config] = Trained(artifact, weights)
        return made[config]

    return make
