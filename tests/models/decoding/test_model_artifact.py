import json
import shutil

import pytest

from sidestream.models.artifact import load_model_artifact, seal
from sidestream.models.engine import Engine
from sidestream.models.errors import EngineError
from sidestream.tokenizer.errors import ArtifactError
from sidestream.tokenizer.manifest import write_manifest
from tests.models.decoding.cases import THREE_LEVELS, TWO_LEVELS

pytestmark = pytest.mark.train


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained(THREE_LEVELS).artifact.folder, tmp_path / "model")


def test_artifact_is_read_back_as_written(trained, folder):
    made, read = trained(THREE_LEVELS).artifact, load_model_artifact(folder, "tok")
    assert (read.version, read.config, read.metrics) == (made.version, made.config, {"recall_at_10": 0.5})
    assert len(read.version) == 12
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| recall_at_10 | 0.5 |" in card
    assert "`tok`" in card


def test_version_names_what_serves_and_not_what_was_measured(folder):
    before = load_model_artifact(folder).version
    (folder / "metrics.json").write_text("{}", encoding="utf-8")
    seal(folder)
    assert load_model_artifact(folder).version == before
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "beta": 9.0}), encoding="utf-8")
    seal(folder)
    assert load_model_artifact(folder).version != before


def test_artifact_of_another_tokenizer_is_refused(folder):
    with pytest.raises(ArtifactError, match="was trained on tokenizer tok, but tokenizer other is in use"):
        load_model_artifact(folder, "other")


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "item_table/ridge.npy", "README.md"])
def test_changed_file_is_refused_by_name(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=name):
        load_model_artifact(folder, "tok")


def seal_anyway(folder):
    write_manifest(folder, {"tokenizer_version": "tok"})
    return folder


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "metrics.json", "item_table/keys.npy"])
def test_missing_file_is_refused_even_where_the_manifest_agrees(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name.split("/")[-1]):
        load_model_artifact(seal_anyway(folder), "tok")


def test_newer_format_is_refused(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 2}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="has format 2, this code reads 1"):
        seal(folder)


def test_graph_of_another_export_is_refused(trained, folder):
    shutil.copy(trained(TWO_LEVELS).artifact.onnx_path, folder / "model.onnx")
    seal(folder)
    with pytest.raises(ArtifactError, match="different exports"):
        Engine(load_model_artifact(folder, "tok"))


def test_file_that_is_no_graph_is_refused(folder):
    (folder / "model.onnx").write_bytes(b"not a graph")
    seal(folder)
    with pytest.raises(EngineError, match="cannot be loaded"):
        Engine(load_model_artifact(folder, "tok"))
