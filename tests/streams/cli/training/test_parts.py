"""Commands that need a part of a pair folder name the command that makes it."""

import pytest
from typer.testing import CliRunner

from sidestream.streams.cli.main import app
from sidestream.streams.cli.training.parts import require_parts
from sidestream.tokenizer.errors import ArtifactError


@pytest.mark.parametrize(
    ("command", "words"),
    [
        pytest.param(
            ["train", "model", "log"], "`sidestream tokenizer train LOG {}/tokenizer`", marks=pytest.mark.train
        ),
        (["evaluate", "log"], "`sidestream tokenizer train LOG {}/tokenizer`"),
        pytest.param(["export"], "`sidestream train model LOG {}`", marks=pytest.mark.train),
    ],
)
def test_a_missing_part_is_named_with_the_command_that_makes_it(tmp_path, command, words):
    found = CliRunner().invoke(app, [*command, str(tmp_path)])
    assert isinstance(found.exception, ArtifactError)
    assert words.format(tmp_path) in str(found.exception)


def test_parts_that_are_there_are_enough(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    require_parts(tmp_path, "tokenizer")
    with pytest.raises(ArtifactError, match="expected a model in"):
        require_parts(tmp_path, "tokenizer", "model")
