"""What retired versions have saved goes, whatever happened in between; what is live stays."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidestream.streams.generations.leftovers import Leftovers


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "catalogue"


def save(folder, name):
    (folder / name / "00000007").mkdir(parents=True)
    (folder / name / "00000007" / "codes.npy").write_bytes(b"codes")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def clear(leftovers, retired, kept):
    asyncio.run(leftovers.clear(retired, kept))


def test_all_models_of_a_retired_version_go_and_nothing_else(folder):
    for name in ("old-m1", "old-m2", "new-m1", "older-m1", "notes"):
        save(folder, name)
    clear(Leftovers(folder), {"old"}, {"new"})
    assert names(folder) == ["new-m1", "notes", "older-m1"]


def test_what_is_live_stays_whatever_is_said_of_it(folder):
    for name in ("a-m", "a-b-m"):
        save(folder, name)
    clear(Leftovers(folder), {"a", "a-b"}, {"a", "a-b"})
    assert names(folder) == ["a-b-m", "a-m"]
    # A version whose name begins another one's.
    clear(Leftovers(folder), {"a"}, {"a-b"})
    assert names(folder) == ["a-b-m"]


def test_nothing_is_touched_outside_of_the_folder(folder, tmp_path):
    save(folder, "old-m")
    save(tmp_path, "precious-m")
    clear(Leftovers(folder), {"../precious", "..", "*"}, set())
    assert names(folder) == ["old-m"]
    assert (tmp_path / "precious-m" / "00000007" / "codes.npy").exists()


def test_a_worker_that_never_saved_has_nothing_to_remove(folder):
    clear(Leftovers(folder), {"old"}, {"new"})
    assert not folder.exists()


def test_what_a_crash_left_is_removed_by_the_next_worker(folder, monkeypatch):
    save(folder, "old-m")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, ignore_errors: (path / "00000007" / "codes.npy").unlink())
        clear(Leftovers(folder), {"old"}, set())
    assert names(folder) == ["old-m"]
    clear(Leftovers(folder), {"old"}, set())
    assert names(folder) == []


def test_a_disk_that_refuses_is_asked_again_and_told_once(folder, monkeypatch):
    save(folder, "old-m")
    leftovers = Leftovers(folder)
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr("shutil.rmtree", lambda path, ignore_errors: None)
        clear(leftovers, {"old"}, set())
        clear(leftovers, {"old"}, set())
    assert len([line for line in lines if "not removed" in line["event"]]) == 1
    clear(leftovers, {"old"}, set())
    assert names(folder) == []


def test_a_version_that_was_prepared_again_and_retired_again_goes_again(folder):
    leftovers = Leftovers(folder)
    for _ in range(2):
        save(folder, "old-m")
        clear(leftovers, {"old"}, {"new"})
        assert names(folder) == []
        clear(leftovers, set(), {"new", "old"})
