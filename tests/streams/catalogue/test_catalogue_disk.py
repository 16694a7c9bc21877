"""The catalogue on disk is a cache: a start resumes from it, or logs why not and reads the whole topic."""

import os

import numpy as np
import pytest
from structlog.testing import capture_logs

from sidestream.streams.catalogue.disk import LocalCatalogue
from sidestream.streams.contracts.topics import KAFKA_DELETE_RETENTION_MS, TopicState
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts
from sidestream.tokenizer.errors import CatalogueError

NOW, HOUR = 1_700_000_000_000, 3_600_000
STATE = TopicState(2, "compact", "id-1", 7 * KAFKA_DELETE_RETENTION_MS)
BOUNDS = {0: (0, 100), 1: (5, 50)}


class Wall:
    now = NOW

    def __call__(self):
        return self.now

    def observe(self, at_ms):
        pass


def catalogue(items=0):
    made = Catalogue("tok", (4,), 2, lambda ids, codes, x: (x, np.ones(len(ids), np.float32)), x_dim=2)
    made.apply([CatalogueUpdate(f"i{n}", n, ItemFacts(), (n % 4,), b"\1\2", 1.0) for n in range(items)])
    return made


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def local(tmp_path, wall):
    return LocalCatalogue(tmp_path / "catalogue", "tok", "model", wall)


def save(local, items=3, positions=(100, 40), reached_at=NOW):
    return local.save(catalogue(items).frozen(), "t", "id-1", positions, reached_at)


def load(local, topic="t", state=STATE, bounds=BOUNDS):
    found = catalogue()
    origin = local.load(topic, state, bounds, found.restore)
    return origin, found.snapshot().num_items


def folders(tmp_path):
    return sorted(str(path.relative_to(tmp_path / "catalogue")) for path in (tmp_path / "catalogue").glob("*/*"))


def test_a_saved_catalogue_is_loaded_with_its_offsets(local, tmp_path):
    assert load(local) == (None, 0)
    assert save(local)
    origin, items = load(local)
    assert (items, origin.positions, origin.reached_at) == (3, (100, 40), NOW)
    assert folders(tmp_path) == ["tok-model/00000001"]


def test_a_save_replaces_the_previous_one_and_removes_unfinished_folders(local, tmp_path):
    save(local)
    for left in (".00000009.0123abcd.writing", "00000009.partial"):
        (tmp_path / "catalogue/tok-model" / left).mkdir()
    assert save(local, items=5, positions=(100, 50))
    assert folders(tmp_path) == ["tok-model/00000002"]
    origin, items = load(local)
    assert (items, origin.positions) == (5, (100, 50))


def test_an_aborted_save_keeps_the_previous_one(local, tmp_path):
    save(local)
    assert not local.save(catalogue(5).frozen(), "t", "id-1", (100, 50), NOW, lambda: True)
    assert folders(tmp_path) == ["tok-model/00000001"]
    assert load(local)[1] == 3


def test_a_disk_error_is_not_fatal(local, tmp_path):
    (tmp_path / "catalogue").write_text("in the way")
    assert not save(local)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"topic": "other"}, "expected topic other"),
        ({"state": TopicState(2, "compact", "id-2", HOUR * 99)}, "recreated"),
        ({"bounds": {0: (0, 100)}}, "1 partitions"),
        ({"bounds": {0: (0, 99), 1: (5, 50)}}, "from 0 to 99"),
        ({"bounds": {0: (0, 100), 1: (41, 50)}}, "from 41 to 50"),
    ],
)
def test_a_catalogue_of_another_origin_is_ignored_and_the_reason_logged(local, change, reason):
    save(local)
    with capture_logs() as lines:
        assert load(local, **change) == (None, 0)
    (line,) = lines
    assert reason in line["reason"]


@pytest.mark.parametrize(
    ("retention_ms", "limit_ms"),
    [
        (7 * KAFKA_DELETE_RETENTION_MS, 7 * KAFKA_DELETE_RETENTION_MS - HOUR),
        (1_000, 900),
        # Without a reported value, Kafka's default is assumed.
        (None, KAFKA_DELETE_RETENTION_MS - HOUR),
    ],
)
def test_a_catalogue_older_than_the_tombstone_retention_is_ignored(local, wall, retention_ms, limit_ms):
    save(local)
    state = TopicState(2, "compact", "id-1", retention_ms)
    wall.now = NOW + limit_ms - 1
    assert load(local, state=state)[1] == 3
    wall.now = NOW + limit_ms
    assert load(local, state=state) == (None, 0)


def test_a_catalogue_from_the_future_is_ignored(local, wall):
    save(local)
    wall.now = NOW - HOUR - 1
    assert load(local) == (None, 0)


def test_each_tokenizer_and_model_has_its_own_folder(local, tmp_path, wall):
    save(local)
    other = LocalCatalogue(tmp_path / "catalogue", "tok", "newer", wall)
    assert load(other) == (None, 0)
    save(other, items=4)
    assert load(other)[1] == 4
    assert load(local)[1] == 3
    # A folder that was moved there by hand still contains its origin.
    (tmp_path / "catalogue/tok-newer/00000001").rename(tmp_path / "catalogue/tok-model/00000002")
    origin, items = load(local)
    assert (origin.model_version, items) == ("model", 3)


def test_a_damaged_catalogue_is_ignored_for_the_previous_one(local, tmp_path):
    save(local)
    content = tmp_path / "catalogue/tok-model/00000001"
    newer = content.with_name("00000002")
    newer.mkdir()
    for path in content.iterdir():
        (newer / path.name).write_bytes(path.read_bytes())
    (newer / "codes.npy").write_bytes(b"?")
    assert load(local)[1] == 3
    (content / "manifest.json").unlink()
    assert load(local) == (None, 0)


def test_a_catalogue_that_does_not_fit_is_ignored(local):
    save(local)

    def refuse(frozen):
        raise CatalogueError("other codebooks")

    assert local.load("t", STATE, BOUNDS, refuse) is None


def test_stale_versions_are_removed(local, tmp_path, wall):
    save(local)
    old = LocalCatalogue(tmp_path / "catalogue", "tok", "old", wall)
    save(old)
    assert len(folders(tmp_path)) == 2
    os.utime(tmp_path / "catalogue/tok-old", (1, 1))
    save(local)
    assert folders(tmp_path) == ["tok-model/00000002"]
