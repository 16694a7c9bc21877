"""The catalogue on disk is a cache: a start goes on from it, or says why not and reads the whole topic."""

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


def test_what_was_saved_is_loaded_with_its_offsets(local, tmp_path):
    assert load(local) == (None, 0)
    assert save(local)
    origin, items = load(local)
    assert (items, origin.positions, origin.reached_at) == (3, (100, 40), NOW)
    assert folders(tmp_path) == ["tok-model/00000001"]


def test_a_save_replaces_the_one_before_and_clears_what_was_left_half_done(local, tmp_path):
    save(local)
    for left in (".00000009.0123abcd.writing", "00000009.partial"):
        (tmp_path / "catalogue/tok-model" / left).mkdir()
    assert save(local, items=5, positions=(100, 50))
    assert folders(tmp_path) == ["tok-model/00000002"]
    origin, items = load(local)
    assert (items, origin.positions) == (5, (100, 50))


def test_a_save_that_is_given_up_leaves_the_one_before(local, tmp_path):
    save(local)
    assert not local.save(catalogue(5).frozen(), "t", "id-1", (100, 50), NOW, lambda: True)
    assert folders(tmp_path) == ["tok-model/00000001"]
    assert load(local)[1] == 3


def test_a_disk_that_refuses_is_no_reason_to_stop(local, tmp_path):
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
def test_one_of_another_topic_is_left_aside_and_why_is_told(local, change, reason):
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
        # A broker that does not say is taken for one with Kafka's own default.
        (None, KAFKA_DELETE_RETENTION_MS - HOUR),
    ],
)
def test_one_older_than_removals_are_kept_is_left_aside(local, wall, retention_ms, limit_ms):
    save(local)
    state = TopicState(2, "compact", "id-1", retention_ms)
    wall.now = NOW + limit_ms - 1
    assert load(local, state=state)[1] == 3
    wall.now = NOW + limit_ms
    assert load(local, state=state) == (None, 0)


def test_one_from_the_future_is_left_aside(local, wall):
    save(local)
    wall.now = NOW - HOUR - 1
    assert load(local) == (None, 0)


def test_other_tokenizers_and_models_have_folders_of_their_own(local, tmp_path, wall):
    save(local)
    other = LocalCatalogue(tmp_path / "catalogue", "tok", "newer", wall)
    assert load(other) == (None, 0)
    save(other, items=4)
    assert load(other)[1] == 4
    assert load(local)[1] == 3
    # A folder that was moved there by hand says itself what it is.
    (tmp_path / "catalogue/tok-newer/00000001").rename(tmp_path / "catalogue/tok-model/00000002")
    origin, items = load(local)
    assert (origin.model_version, items) == ("model", 3)


def test_a_damaged_one_is_left_aside_for_the_one_before(local, tmp_path):
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


def test_one_that_the_catalogue_does_not_take_is_left_aside(local):
    save(local)

    def refuse(frozen):
        raise CatalogueError("other codebooks")

    assert local.load("t", STATE, BOUNDS, refuse) is None


def test_versions_that_nobody_saves_any_more_go_in_time(local, tmp_path, wall):
    save(local)
    old = LocalCatalogue(tmp_path / "catalogue", "tok", "old", wall)
    save(old)
    assert len(folders(tmp_path)) == 2
    os.utime(tmp_path / "catalogue/tok-old", (1, 1))
    save(local)
    assert folders(tmp_path) == ["tok-model/00000002"]
