"""A replaced file has its old content or all of the new, after a kill at any point."""

import pytest

from sidestream.tokenizer.durable import replace_file
from tests.tokenizer.kill_points import killed


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_holds_old_or_new_at_every_kill(tmp_path, durable):
    path = tmp_path / "file"
    for after in range(100):
        path.write_bytes(b"old")
        with killed(after) as kill:
            replace_file(path, b"new", durable=durable)
        if not kill.happened:
            break
        assert path.read_bytes() in (b"old", b"new")
    replace_file(path, b"newer")
    assert path.read_bytes() == b"newer"
