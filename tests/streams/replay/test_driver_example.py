"""The example in the driver's docstring runs as it stands."""

import doctest
import shutil

from sidestream import ReplayDriver
from sidestream.models.world import WorldSettings, generate_world
from sidestream.streams.demo.shipped import shipped_pair


def test_the_example_in_the_docstring_runs(tmp_path, monkeypatch):
    generate_world(tmp_path / "log", WorldSettings(listeners=20, days=3))
    shutil.copytree(shipped_pair(), tmp_path / "pair")
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(ReplayDriver, "ReplayDriver", globs={})
    assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
    assert len(example.globs["best"]) == 3
