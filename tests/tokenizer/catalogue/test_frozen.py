"""A catalogue restored from disk continues like the original, and invalid folders are refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings

from sidestream.tokenizer.catalogue import CatalogueUpdate, ItemFacts, files
from sidestream.tokenizer.catalogue.files import read_frozen, write_frozen
from sidestream.tokenizer.errors import ArtifactError, CatalogueError
from sidestream.tokenizer.manifest import write_manifest
from tests.tokenizer.catalogue import catalogue_model as cm
from tests.tokenizer.catalogue.test_catalogue_properties import batches
from tests.tokenizer.kill_points import FOLDERS, check_every_kill


def upsert(item_id, offset=0, sid=(0, 0, 0), **facts):
    return CatalogueUpdate(item_id, offset, ItemFacts(**facts), sid, np.array([1, 2, 3, 4], dtype=np.int8), 0.5)


def some_catalogue():
    subject = cm.new_catalogue()
    subject.apply([upsert(f"i{n}", n, (n % 3, n % 2, n % 4), market=("SE",) * (n % 2), title="T") for n in range(20)])
    subject.apply([upsert("i3", 30, (2, 1, 3), expires_at=9), CatalogueUpdate("i4", 31), CatalogueUpdate("gone", 32)])
    subject.snapshot(0)
    return subject


def written(folder, subject):
    assert write_frozen(folder, subject.frozen(), {"who": "a test"})
    frozen, facts = read_frozen(folder)
    assert facts["who"] == "a test"
    again = cm.new_catalogue()
    again.restore(frozen)
    return again


@given(batches, batches)
@settings(max_examples=60, deadline=None)
def test_a_restored_catalogue_continues_as_the_captured_one(before, after):
    subject, model = cm.new_catalogue(), cm.Model()
    for batch in before:
        subject.apply(batch)
        subject.snapshot(0)
        for update in batch:
            model.apply(update)
    again = cm.new_catalogue()
    again.restore(subject.frozen())
    cm.check(again.snapshot(7), model, 7)
    for batch in after:
        again.apply(batch)
        subject.apply(batch)
        for update in batch:
            model.apply(update)
        got, wanted = again.snapshot(9), subject.snapshot(9)
        cm.check(got, model, 9)
        assert got.item_ids(got.bucket_rows) == wanted.item_ids(wanted.bucket_rows)
        for one, other in zip(got.node_vectors, wanted.node_vectors, strict=True):
            np.testing.assert_array_equal(one, other)


def test_catalogue_comes_back_from_disk_with_removals_and_source_order(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_CHUNK_BYTES", 40)
    subject = some_catalogue()
    again = written(tmp_path / "one", subject)
    was, got = subject.snapshot(0), again.snapshot(0)
    assert got.item_ids(got.bucket_rows) == was.item_ids(was.bucket_rows)
    assert got.traits == was.traits
    assert got.version != was.version
    # An update from before the removal stays out, whether the item was ever seen or not.
    again.apply([upsert("gone", 31), upsert("i4", 30)])
    assert again.snapshot(0).num_items == 19
    again.apply([upsert("gone", 33, market=("DE",)), upsert("i4", 33)])
    assert again.snapshot(0).num_items == 21
    assert again.snapshot(9).num_items == 20
    # The row that was there is the row that stays: the same content makes no new one.
    rows = again.snapshot(9).num_rows
    again.apply([upsert("i5", 40, (2, 1, 1), market=("SE",), title="T")])
    assert again.snapshot(9).num_rows == rows
    assert not list(tmp_path.glob("*.partial"))


def test_capture_does_not_move_with_the_catalogue(tmp_path):
    subject = some_catalogue()
    frozen = subject.frozen()
    subject.apply([CatalogueUpdate(f"i{n}", 99) for n in range(20)] + [upsert("new", 99)])
    again = cm.new_catalogue()
    again.restore(frozen)
    assert again.snapshot(0).num_items == 19


def test_writing_that_is_given_up_leaves_nothing(tmp_path):
    frozen, asked = some_catalogue().frozen(), []
    for patience in (0, 5, 20):
        asked.clear()
        assert not write_frozen(tmp_path / "one", frozen, {}, lambda: asked.append(1) or len(asked) > patience)  # noqa: B023
        assert list(tmp_path.iterdir()) == []


def test_disk_that_refuses_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_manifest", full)
    with pytest.raises(OSError, match="No space"):
        write_frozen(tmp_path / "one", some_catalogue().frozen(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_write_killed_at_any_rename_leaves_all_or_nothing(tmp_path):
    frozen = some_catalogue().frozen()

    def save(place, version):
        # No catalogue on disk is ever replaced.
        if not place.exists():
            assert write_frozen(place, frozen, {"who": version})

    def load(place):
        return read_frozen(place)[1]["who"]

    assert check_every_kill(tmp_path, save, load, ArtifactError, changes=FOLDERS, replacing=(False,))


def spoil_byte(folder):
    path = folder / "codes.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def relabel(folder):
    facts = json.loads((folder / "manifest.json").read_text())
    extra = {name: facts[name] for name in facts if name not in ("schema_version", "files", "content_sha256")}
    write_manifest(folder, {**extra, "layout": 99})


def no_sets(folder):
    (folder / "traits.json").write_text("[1]")
    write_manifest(folder, {"layout": 2, "num_seen": 1, "num_snapshots": 1})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_byte, "damaged"),
        (lambda folder: (folder / "text.npy").unlink(), "lacks"),
        (lambda folder: (folder / "manifest.json").unlink(), "no manifest"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not a readable manifest"),
        (shutil.rmtree, "is missing"),
        (relabel, "layout 2, got 99"),
        (no_sets, "not a readable catalogue"),
    ],
)
def test_damaged_or_foreign_folders_are_refused(tmp_path, spoil, words):
    folder = tmp_path / "one"
    write_frozen(folder, some_catalogue().frozen(), {})
    spoil(folder)
    with pytest.raises(ArtifactError, match=words):
        read_frozen(folder)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("keys", lambda array: array.astype(np.int64), "arrays of this release"),
        ("keys", None, "arrays of this release"),
        ("weights", lambda array: array[:-1], "expected weights of 21 rows"),
        ("vectors", lambda array: array[:, :-1], "expected vectors"),
        ("codes", lambda array: array + np.uint16(4), "codes"),
        ("weights", lambda array: array * 0, "weights"),
        ("scales", lambda array: array * np.float32("nan"), "scales"),
        ("text_starts", lambda array: array[::-1].copy(), "text_starts"),
        ("text", lambda array: array[:-60], "text_starts"),
        ("traits", lambda array: array + np.uint16(60_000), "traits"),
        ("expiring_rows", lambda array: array + np.int32(90), "expiring_rows"),
        ("tombstone_keys", lambda array: array[:0], "tombstone_keys"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_nothing_restored(name, change, words):
    frozen = some_catalogue().frozen()
    arrays = {other: array for other, array in frozen.arrays.items() if other != name}
    if change is not None:
        arrays[name] = change(frozen.arrays[name])
    again = cm.new_catalogue()
    with pytest.raises(CatalogueError, match=words):
        again.restore(dataclasses.replace(frozen, arrays=arrays))
    assert again.snapshot().num_rows == 0
