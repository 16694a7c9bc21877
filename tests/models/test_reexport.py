"""A re-exported graph replaces the old one completely, or not at all."""

import shutil

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

import numpy as np  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from sidestream.models import reexport as subject  # noqa: E402
from sidestream.models.artifact import (  # noqa: E402
    ONNX_NAME,
    WEIGHTS_NAME,
    ModelConfig,
    load_model_artifact,
    seal,
    write_model_files,
)
from sidestream.models.item_table import ItemTable  # noqa: E402
from sidestream.models.network import GenModel, NetworkConfig  # noqa: E402
from sidestream.tokenizer.errors import ArtifactError  # noqa: E402
from tests.tokenizer.kill_points import FOLDERS, check_every_kill, killed  # noqa: E402

NETWORK = NetworkConfig(codebook_sizes=(4, 4), d_model=16, head_dim=8, num_layers=1, max_len=3)


@pytest.fixture
def template(tmp_path, monkeypatch):
    """A model artifact with a graph of a few bytes; the export writes other bytes."""
    model = GenModel(NETWORK, seed=0)
    table = ItemTable(
        NETWORK.codebook_sizes,
        np.empty(0, np.uint64),
        np.empty((0, NETWORK.d_model), np.float16),
        np.empty(0, np.int32),
        model.code_embedding.detach().numpy(),
        np.zeros((9, NETWORK.d_model), np.float32),
    )
    folder = tmp_path / "template"
    write_model_files(folder, ModelConfig(tokenizer_version="tok", network=NETWORK), table, {})
    save_file({name: value.detach().contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS_NAME)
    (folder / ONNX_NAME).write_bytes(b"old")
    seal(folder)
    monkeypatch.setattr(subject, "export_onnx", lambda model, path, metadata: path.write_bytes(b"new"))
    return folder


def load(place):
    load_model_artifact(place, "tok")
    return (place / ONNX_NAME).read_text()


@pytest.mark.parametrize("swap", [True, False], ids=["swap", "two renames"])
def test_a_reexport_killed_at_any_rename_leaves_the_old_model_or_the_new(template, tmp_path, swap):
    def save(place, version):
        if version == "old":
            shutil.copytree(template, place)
        else:
            subject.reexport(place)

    assert check_every_kill(tmp_path, save, load, ArtifactError, swap=swap, changes=FOLDERS, replacing=(True,))


@pytest.mark.parametrize("swap", [True, False], ids=["swap", "two renames"])
def test_an_interrupt_between_any_two_changes_keeps_a_model(template, tmp_path, swap):
    # Unlike a kill an interrupt runs the clean-up of every block that it leaves.
    for after in range(1000):
        place = tmp_path / str(after) / "model"
        shutil.copytree(template, place)
        with killed(after, swap=swap, changes=FOLDERS, once=True) as kill:
            subject.reexport(place)
        assert load(place) in ("old", "new")
        if not kill.happened:
            return
