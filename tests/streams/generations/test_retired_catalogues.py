"""What retired versions have saved goes, whatever happened in between; what is live stays."""

import asyncio

import pytest

from sidestream.streams.generations.retired_catalogues import RetiredCatalogues


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "catalogue"


def save(folder, name):
    (folder / name / "00000007").mkdir(parents=True)
    (folder / name / "00000007" / "codes.npy").write_bytes(b"codes")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def remove(retired_catalogues, retired, kept):
    asyncio.run(retired_catalogues.remove(retired, kept))


def test_all_models_of_a_retired_version_go_and_nothing_else(folder):
    for name in ("old-m1", "old-m2", "new-m1", "older-m1", "notes"):
        save(folder, name)
    remove(RetiredCatalogues(folder), {"old"}, {"new"})
    assert names(folder) == ["new-m1", "notes", "older-m1"]


def test_what_is_live_stays_whatever_is_said_of_it(folder):
    for name in ("a-m", "a-b-m"):
        save(folder, name)
    remove(RetiredCatalogues(folder), {"a", "a-b"}, {"a", "a-b"})
    assert names(folder) == ["a-b-m", "a-m"]
    # A version whose name begins another one's.
    remove(RetiredCatalogues(folder), {"a"}, {"a-b"})
    assert names(folder) == ["a-b-m"]


def test_nothing_is_touched_outside_of_the_folder(folder, tmp_path):
    save(folder, "old-m")
    save(tmp_path, "precious-m")
    remove(RetiredCatalogues(folder), {"../precious", "..", "*"}, set())
    assert names(folder) == ["old-m"]
    assert (tmp_path / "precious-m" / "00000007" / "codes.npy").exists()


def test_a_worker_that_never_saved_has_nothing_to_remove(folder):
    remove(RetiredCatalogues(folder), {"old"}, {"new"})
    assert not folder.exists()


def test_what_a_crash_left_is_removed_by_the_next_worker(folder, monkeypatch):
    save(folder, "old-m")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, ignore_errors: (path / "00000007" / "codes.npy").unlink())
        remove(RetiredCatalogues(folder), {"old"}, set())
    assert names(folder) == ["old-m"]
    remove(RetiredCatalogues(folder), {"old"}, set())
    assert names(folder) == []


def test_a_disk_that_refuses_is_asked_again_and_told_once(folder, monkeypatch, capsys):
    save(folder, "old-m")
    retired_catalogues = RetiredCatalogues(folder)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, ignore_errors: None)
        remove(retired_catalogues, {"old"}, set())
        remove(retired_catalogues, {"old"}, set())
    assert capsys.readouterr().out.count("not removed") == 1
    remove(retired_catalogues, {"old"}, set())
    assert names(folder) == []


def test_a_version_that_was_prepared_again_and_retired_again_goes_again(folder):
    retired_catalogues = RetiredCatalogues(folder)
    for _ in range(2):
        save(folder, "old-m")
        remove(retired_catalogues, {"old"}, {"new"})
        assert names(folder) == []
        remove(retired_catalogues, set(), {"new", "old"})
