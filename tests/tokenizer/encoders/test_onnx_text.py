import json
import shutil

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the train extra")

from sidestream.tokenizer.artifact import load_tokenizer, save_tokenizer
from sidestream.tokenizer.content import ContentEncoder, WordLlamaEncoder
from sidestream.tokenizer.encoders import OnnxTextEncoder, open_encoder
from sidestream.tokenizer.encoders.export import export_encoder
from sidestream.tokenizer.errors import ArtifactError, TokenizerError
from sidestream.tokenizer.fitting import fit_tokenizer
from sidestream.tokenizer.settings import TokenizerSettings
from sidestream.tokenizer.views import text_items
from tests.tokenizer.encoders.tiny_bert import HIDDEN, word_splitter, write_source

pytestmark = pytest.mark.train

TEXTS = ["w1 w2 w3", "", "w7", "w1 w2 w3 " * 60, "w9 w8 " * 20, "not a word of it", "w1 w2 w3", "\x00 \n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoder")
    export_encoder(root / "onnx", write_source(root / "source"))
    return root / "onnx"


@pytest.fixture(scope="module")
def tiny(folder):
    return OnnxTextEncoder(folder)


def test_texts_get_the_same_bits_alone_and_in_any_bulk(tiny):
    bulk = tiny.encode(TEXTS)
    backwards = tiny.encode(TEXTS[::-1])[::-1]
    for row, text in enumerate(TEXTS):
        assert tiny.encode([text])[0].tobytes() == bulk[row].tobytes() == backwards[row].tobytes()
    assert np.linalg.norm(bulk, axis=1) == pytest.approx([1, 0, 1, 1, 1, 1, 1, 0], abs=1e-3)


def test_it_is_an_encoder_like_any_other(tiny):
    assert isinstance(tiny, ContentEncoder)
    assert tiny.dim == HIDDEN
    assert tiny.encode([]).shape == (0, HIDDEN)


def test_the_tokenizers_own_padding_and_limit_are_not_used(tiny):
    """Padding would show in the mean; and 200 words count, though the tokenizer's file says 128."""
    alone = tiny.encode(["w1"])[0]
    assert word_splitter().encode("w1").ids[5:] == [0] * 123
    hidden = tiny._load()._session.run(None, {"input_ids": [[2, 5, 3]], "attention_mask": [[1, 1, 1]]})[0][0]
    assert alone == pytest.approx(hidden.mean(axis=0) / np.linalg.norm(hidden.mean(axis=0)), abs=2**-15)
    long = "w1 " * 200
    assert tiny.encode([long + "w2"])[0].tobytes() != tiny.encode([long + "w3"])[0].tobytes()
    beyond = "w1 " * 254
    assert tiny.encode([beyond + "w2"])[0].tobytes() == tiny.encode([beyond + "w3"])[0].tobytes()


def test_without_a_length_setting_the_tokenizers_limit_applies(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bare")
    (tmp_path / "bare" / "sentence_bert_config.json").unlink()
    bare = OnnxTextEncoder(tmp_path / "bare")
    long = "w1 " * 130
    assert bare.encode([long + "w2"])[0].tobytes() == bare.encode([long + "w3"])[0].tobytes()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "sentence_bert_config.json"])
def test_every_file_is_in_the_fingerprint(tiny, folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "copy")
    assert OnnxTextEncoder(tmp_path / "copy").fingerprint == tiny.fingerprint
    path = tmp_path / "copy" / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert OnnxTextEncoder(tmp_path / "copy").fingerprint != tiny.fingerprint


def test_missing_and_damaged_files_are_reported(folder, tmp_path):
    with pytest.raises(TokenizerError, match=r"expected a folder with .*, found no model\.onnx"):
        open_encoder(str(tmp_path / "none"))
    assert isinstance(open_encoder("wordllama"), WordLlamaEncoder)
    for name in ("model.onnx", "tokenizer.json", "sentence_bert_config.json"):
        copy = tmp_path / f"without {name}"
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(b"{")
        with pytest.raises(TokenizerError, match="cannot be read"):
            open_encoder(str(copy)).encode(["w1"])


def test_a_missing_package_is_named(tiny, folder, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("sidestream.tokenizer.encoders.onnx_text.importlib.import_module", absent)
    with pytest.raises(TokenizerError, match=r"needs the package onnxruntime; run pip install 'sidestream\[cpu\]'"):
        OnnxTextEncoder(folder).encode(["w1"])


def test_an_artifact_carries_its_encoder_and_refuses_another(tiny, tmp_path):
    items = text_items([f"item-{n}" for n in range(30)], [f"w{n % 9} w{n % 5}" for n in range(30)])
    settings = TokenizerSettings(vector_dim=16, collaborative_dim=4, codebook_size=8)
    fitted = fit_tokenizer(items, [], tiny, settings, np.random.default_rng(0))
    artifact = tmp_path / "tokenizer"
    save_tokenizer(artifact, fitted)
    assert {path.name for path in (artifact / "encoder").iterdir()} == {path.name for path in tiny.files}
    loaded = load_tokenizer(artifact)
    assert loaded.version == fitted.version
    assert loaded.encode_items(items).codes.tolist() == fitted.encode_items(items).codes.tolist()
    with pytest.raises(ArtifactError, match=r"fitted with encoder onnx .*got wordllama"):
        load_tokenizer(artifact, WordLlamaEncoder())
    model = artifact / "encoder" / "model.onnx"
    whole = model.read_bytes()
    model.unlink()
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"encoder/model\.onnx is damaged"):
        load_tokenizer(artifact)
    config = json.loads((artifact / "config.json").read_text())
    assert config["encoder_name"] == "onnx"
    assert config["encoder_fingerprint"] == tiny.fingerprint
