import shutil
from pathlib import Path

import pytest

from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.errors import GenerationError
from sidestream.streams.operate.rollout.pairs import find_pair
from sidestream.tokenizer.manifest import verify_manifest

VERSION = verify_manifest(shipped_pair() / "tokenizer").extra["tokenizer_version"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "pairs"
    shutil.copytree(shipped_pair(), made / "demo")
    (made / "half" / "tokenizer").mkdir(parents=True)
    return made


def test_a_pair_is_found_by_version_name_or_path(folder):
    for named in (VERSION, "demo", str(folder / "demo")):
        assert find_pair(named, folder) == (VERSION, "demo")


def test_a_name_means_the_folder_of_pairs_whatever_else_lies_where_the_command_runs(folder, tmp_path, monkeypatch):
    """`rollout next` was refused where a folder `next` lay in the working folder too, as after training there."""
    shutil.copytree(shipped_pair(), tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    for named in ("demo", "demo/", "./pairs/demo", "pairs/demo", str(folder / "demo")):
        assert find_pair(named, folder) == (VERSION, "demo"), named
        assert find_pair(named, Path("pairs")) == (VERSION, "demo"), named
    monkeypatch.chdir("/")
    assert find_pair("pairs/demo", folder) == (VERSION, "demo")
    (folder / "linked").symlink_to(folder / "demo")
    assert find_pair("linked", folder) == (VERSION, "linked")
    monkeypatch.chdir(folder)
    assert find_pair("./demo", folder) == (VERSION, "demo")


def test_a_pair_that_is_not_there_is_told_with_the_places_that_were_looked_at(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GenerationError) as caught:
        find_pair("next", folder)
    for part in (str(folder / "next"), str(tmp_path / "next"), f"{VERSION} (demo)"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("named", "words"), [("nobody", rf"{VERSION} \(demo\)"), (str(shipped_pair()), "copy it there")]
)
def test_a_pair_where_workers_do_not_look_is_refused(folder, named, words):
    with pytest.raises(GenerationError, match=words):
        find_pair(named, folder)


def test_without_a_folder_of_pairs_there_is_none():
    with pytest.raises(GenerationError, match=r"generations\.folder"):
        find_pair(VERSION, None)
