"""The fork server of the crash matrix: one that cannot start says so, and the release before can run ours."""

import pytest

from tests.bench.matrix.forks import Forks
from tests.bench.matrix.releases import RELEASE_BEFORE, MissingCommit, export


async def test_a_server_that_cannot_start_says_why_at_once(tmp_path):
    package = tmp_path / "sources" / "sidestream"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('a name that is not there')\n")
    forks = Forks(package.parent)
    await forks.open(tmp_path / "forks.log")
    with pytest.raises(RuntimeError, match="ImportError: a name that is not there"):
        await forks.start("worker", tmp_path / "worker.log", {})
    await forks.close()


async def test_the_release_before_starts_its_workers_in_our_server(tmp_path):
    try:
        forks = Forks(export(RELEASE_BEFORE, tmp_path / "before"))
    except MissingCommit as missing:
        pytest.skip(str(missing))
    await forks.open(tmp_path / "forks.log")
    worker = await forks.start("worker", tmp_path / "worker.log", {})
    assert await worker.ended == 1, "without a configuration it ends"
    assert "KeyError" in (tmp_path / "worker.log").read_text()
    await forks.close()
