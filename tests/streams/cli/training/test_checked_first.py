"""Training and evaluating commands check their arguments before any long work, and before torch is loaded."""

import re
import shutil
import sys

import pytest

from sidestream.models.evaluation import versions
from sidestream.models.training import tokenizer as training
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.cli.training import models
from sidestream.streams.demo.shipped import shipped_pair


@pytest.fixture
def no_long_work(monkeypatch):
    """Fail where torch would be loaded, or a log be read."""

    def read(folder):
        pytest.fail(f"{folder.path} was read")

    for module in (training, versions):
        monkeypatch.setattr(module, "training_sequences", read)
    for name in ("training.train", "reexport"):
        monkeypatch.setitem(sys.modules, f"sidestream.models.{name}", None)


@pytest.fixture
def places(tmp_path):
    generate_world(tmp_path / "log", WorldSettings(listeners=10, days=2))
    shutil.copytree(shipped_pair(), tmp_path / "pair")
    shutil.copytree(shipped_pair() / "tokenizer", tmp_path / "other" / "tokenizer")
    for taken in ("other/model", "taken"):
        (tmp_path / taken).mkdir()
        (tmp_path / taken / "mine.txt").touch()


@pytest.mark.train
@pytest.mark.usefixtures("no_long_work", "places")
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("train model nolog pair", "nolog/manifest.json"),
        ("train model log nopair", "nopair/tokenizer, .*`sidestream tokenizer train LOG nopair/tokenizer`"),
        ("train model log other", "other/model exists and is not an artifact of kind model"),
        ("tokenizer train nolog new", "nolog/manifest.json"),
        ("tokenizer train log taken", "taken exists and is not an artifact of kind tokenizer"),
        ("tokenizer train log new --set tokenizer.encoder=none", "none"),
        ("tokenizer compare nopair pair/tokenizer --log log", "nopair is missing"),
        ("tokenizer compare pair/tokenizer nopair --log log", "nopair is missing"),
        (
            "tokenizer compare pair/tokenizer pair/tokenizer --log log --alignment taken",
            "taken exists and is not an artifact of kind alignment",
        ),
        ("tokenizer report nopair --log log", "nopair is missing"),
        ("tokenizer report pair --log log --out taken", "taken: expected a file"),
        ("evaluate nolog pair", "nolog/manifest.json"),
        ("evaluate log nopair", "nopair/tokenizer, .*`sidestream tokenizer train LOG nopair/tokenizer`"),
        ("evaluate log other", "artifact other/model"),
        ("export nopair", "nopair/model, .*`sidestream train model LOG nopair`"),
        ("export pair", "pair/model: expected weights.safetensors"),
    ],
)
def test_a_wrong_argument_is_told_at_once(sidestream, command, told):
    pytest.importorskip("torch")
    (line,) = sidestream(*command.split(), code=1).err.strip().splitlines()
    assert re.search(told, line), line


@pytest.mark.train
@pytest.mark.usefixtures("no_long_work", "places")
@pytest.mark.parametrize("command", ["train model log pair", "export pair"])
def test_what_takes_long_to_load_is_named_before(sidestream, monkeypatch, capsys, command):
    pytest.importorskip("torch")
    monkeypatch.setattr(models, "require_weights", lambda artifact: None)
    with pytest.raises(ModuleNotFoundError, match="halted"):
        sidestream(*command.split())
    assert capsys.readouterr().err == "loading PyTorch …\n"
