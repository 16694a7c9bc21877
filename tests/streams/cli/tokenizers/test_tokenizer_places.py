"""Where `sidestream tokenizer` reads and writes: recovered first, and refused before the work."""

import shutil

from typer.testing import CliRunner

from sidestream.streams.cli.main import app
from sidestream.streams.cli.tokenizers.report import tokenizer_folder
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.errors import ArtifactError


def test_a_pair_whose_tokenizer_was_being_replaced_is_found(tmp_path):
    shutil.copytree(shipped_pair() / "tokenizer", tmp_path / ".tokenizer.old")
    assert tokenizer_folder(tmp_path) == tmp_path / "tokenizer"
    assert tokenizer_folder(tmp_path / "tokenizer") == tmp_path / "tokenizer"
    assert (tmp_path / "tokenizer").is_dir()


def test_an_alignment_that_would_replace_something_else_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    missing = str(tmp_path / "missing")
    done = CliRunner().invoke(
        app, ["tokenizer", "compare", missing, missing, "--log", missing, "--alignment", str(tmp_path)]
    )
    assert isinstance(done.exception, ArtifactError)
    assert "not an artifact of kind alignment" in str(done.exception)
