import shutil

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


@pytest.mark.parametrize(
    ("named", "words"), [("nobody", rf"which are {VERSION} \(demo\)"), (str(shipped_pair()), "copy it there")]
)
def test_a_pair_where_workers_do_not_look_is_refused(folder, named, words):
    with pytest.raises(GenerationError, match=words):
        find_pair(named, folder)


def test_without_a_folder_of_pairs_there_is_none():
    with pytest.raises(GenerationError, match=r"generations\.folder"):
        find_pair(VERSION, None)
