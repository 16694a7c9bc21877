"""A tiny world becomes a tokenizer of each kind; levels of kind vq are trained, saved, and encode without torch."""

import importlib.util
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.errors import TrainingError
from sidestream.models.training import tokenizer as training
from sidestream.models.training.tokenizer import next_listens, train_tokenizer
from sidestream.models.world import WorldSettings, generate_world
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.content import WordLlamaEncoder
from sidestream.tokenizer.errors import ArtifactError, TokenizerError
from sidestream.tokenizer.levels import fit_levels
from sidestream.tokenizer.settings import TokenizerSettings, VqSettings
from sidestream.tokenizer.views import ItemContent

VQ = TokenizerSettings(
    level_kinds=("vq",) * 3,
    codebook_sizes=(16, 8, 4),
    vq=VqSettings(epochs=3, latent_dim=8, hidden_dim=16, progressive_masking=True, contrastive_weight=0.1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "log"
    generate_world(path, WorldSettings(listeners=50, shows=4, artists=5, books=2, live_per_day=0, days=5))
    return LogFolder(path)


def test_a_place_that_cannot_be_replaced_is_refused_before_the_fit(tmp_path, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    stages = []
    with pytest.raises(ArtifactError, match="not an artifact of kind tokenizer"):
        train_tokenizer(
            folder, tmp_path / "mine", WordLlamaEncoder(), VQ, progress=lambda stage, *_: stages.append(stage)
        )
    assert stages == []


@pytest.mark.train
def test_vq_levels_are_saved_and_encode_without_torch(folder, tmp_path):
    pytest.importorskip("torch")
    fitted = train_tokenizer(folder, tmp_path / "tokenizer", WordLlamaEncoder(), VQ)
    assert fitted.tokenizer.codebook_sizes == (16, 8, 4)
    assert fitted.tokenizer.tokenizer.levels.encoder is not None
    again = load_tokenizer(tmp_path / "tokenizer")
    assert again.version == fitted.tokenizer.version == fitted.report["tokenizer_version"]
    codes = again.encode_items([ItemContent("new", "Rain on a tin roof")]).codes[0].tolist()
    program = (
        "import sys; from pathlib import Path; from sidestream.tokenizer.artifact import load_tokenizer\n"
        "from tokenizer.views import ItemContent\n"
        f"made = load_tokenizer(Path({str(tmp_path / 'tokenizer')!r}))\n"
        "print(made.encode_items([ItemContent('new', 'Rain on a tin roof')]).codes[0].tolist(), 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == f"{codes} False"


@pytest.mark.train
def test_vq_levels_take_the_beam_of_the_settings(folder, tmp_path):
    pytest.importorskip("torch")
    settings = VQ.model_copy(update={"beam_size": 3, "vq": VqSettings(epochs=1, latent_dim=8, hidden_dim=16)})
    fitted = train_tokenizer(folder, tmp_path / "tokenizer", WordLlamaEncoder(), settings)
    assert fitted.tokenizer.tokenizer.levels.beam_size == 3


def test_vq_without_torch_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", {"torch": None}.__getitem__)
    monkeypatch.setattr(training, "training_sequences", lambda folder: pytest.fail("the log was read first"))
    with pytest.raises(TrainingError, match=r"pip install 'sidestream\[train\]'"):
        train_tokenizer(folder, tmp_path / "tokenizer", WordLlamaEncoder(), VQ)


def test_vq_levels_are_not_fitted():
    with pytest.raises(TokenizerError, match="trained, not fitted"):
        fit_levels(np.eye(8, dtype=np.float32), VQ, np.random.default_rng(0))


def test_vq_is_for_all_levels_or_none():
    with pytest.raises(ValueError, match="vq for all levels or for none"):
        TokenizerSettings(level_kinds=("vq", "vq", "fsq"))


def test_the_report_has_age_and_quality_of_the_collaborative_half(folder, tmp_path):
    report = train_tokenizer(
        folder, tmp_path / "tokenizer", WordLlamaEncoder(), TokenizerSettings(), with_cold_start=True
    ).report
    last_at = training_sequences(folder).liked_until
    assert report["listens_until"] == datetime.fromtimestamp(last_at / 1_000, UTC).isoformat(timespec="seconds")
    assert last_at < folder.manifest.last_at
    assert report["unheard"]["num_heard"] > report["unheard"]["num_unheard"] > 0


def test_pairs_are_listens_one_after_the_other():
    pairs = next_listens([np.array([3, 4, 4, 5]), np.array([7]), np.array([], dtype=np.int64)])
    assert pairs.tolist() == [[3, 4], [4, 5]]
    assert next_listens([]).shape == (0, 2)
