"""`sidestream demo --data`: what is wrong with the data is said before anything starts."""

import pytest
from typer.testing import CliRunner

from sidestream.streams.cli.main import app
from sidestream.streams.errors import DataError


@pytest.mark.parametrize(
    ("left", "what"), [("other", "found none"), (".data.old", "expected a folder with user_taggedartists.dat")]
)
def test_a_folder_that_was_being_replaced_is_found(tmp_path, left, what):
    (tmp_path / left).mkdir()
    done = CliRunner().invoke(app, ["demo", "--data", str(tmp_path / "data")])
    assert isinstance(done.exception, DataError)
    assert what in str(done.exception)
