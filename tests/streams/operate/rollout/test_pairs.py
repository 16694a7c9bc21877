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


def test_a_pair_whose_tokenizer_was_being_replaced_is_found(folder):
    (folder / "demo" / "tokenizer").rename(folder / "demo" / ".tokenizer.old")
    assert find_pair(VERSION, folder) == (VERSION, "demo")


def test_a_name_refers_to_the_folder_of_pairs_even_if_the_working_folder_has_one(folder, tmp_path, monkeypatch):
    """`rollout next` was refused if the working folder had a folder `next`, too, as after training there."""
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


def test_a_missing_pair_is_reported_with_the_searched_places(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GenerationError) as caught:
        find_pair("next", folder)
    for part in (str(folder / "next"), str(tmp_path / "next"), f"{VERSION} (demo)"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("named", "words"), [("unknown", rf"{VERSION} \(demo\)"), (str(shipped_pair()), "copy it there")]
)
def test_a_pair_outside_the_folder_of_pairs_is_refused(folder, named, words):
    with pytest.raises(GenerationError, match=words):
        find_pair(named, folder)


def test_without_a_folder_of_pairs_there_is_none():
    with pytest.raises(GenerationError, match=r"generations\.folder"):
        find_pair(VERSION, None)
