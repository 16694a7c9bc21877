"""Saved catalogues of retired versions are removed, even after crashes; those of live versions stay."""

import asyncio

import pytest
from structlog.testing import capture_logs

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


def test_catalogues_of_all_models_of_a_retired_version_are_removed_and_nothing_else(folder):
    for name in ("old-m1", "old-m2", "new-m1", "older-m1", "notes"):
        save(folder, name)
    remove(RetiredCatalogues(folder), {"old"}, {"new"})
    assert names(folder) == ["new-m1", "notes", "older-m1"]


def test_live_versions_are_kept_even_if_listed_as_retired(folder):
    for name in ("a-m", "a-b-m"):
        save(folder, name)
    remove(RetiredCatalogues(folder), {"a", "a-b"}, {"a", "a-b"})
    assert names(folder) == ["a-b-m", "a-m"]
    # A version whose name is a prefix of another one's.
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


def test_remains_after_a_crash_are_removed_by_the_next_worker(folder, monkeypatch):
    save(folder, "old-m")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, ignore_errors: (path / "00000007" / "codes.npy").unlink())
        remove(RetiredCatalogues(folder), {"old"}, set())
    assert names(folder) == ["old-m"]
    remove(RetiredCatalogues(folder), {"old"}, set())
    assert names(folder) == []


def test_a_failed_removal_is_retried_and_logged_once(folder, monkeypatch):
    save(folder, "old-m")
    retired_catalogues = RetiredCatalogues(folder)
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr("shutil.rmtree", lambda path, ignore_errors: None)
        remove(retired_catalogues, {"old"}, set())
        remove(retired_catalogues, {"old"}, set())
    assert len([line for line in lines if "not removed" in line["event"]]) == 1
    remove(retired_catalogues, {"old"}, set())
    assert names(folder) == []


def test_a_version_prepared_and_retired_again_is_removed_again(folder):
    retired_catalogues = RetiredCatalogues(folder)
    for _ in range(2):
        save(folder, "old-m")
        remove(retired_catalogues, {"old"}, {"new"})
        assert names(folder) == []
        remove(retired_catalogues, set(), {"new", "old"})
