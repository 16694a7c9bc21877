"""A worker's counts: merged over partitions, visible at a refresh, foreign records skipped."""

import numpy as np
import pytest

from sidestream.streams.popularity.current_counts import LivePopularity
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import CountedPart, part_key
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts
from sidestream.tokenizer.popularity import Counts
from sidestream.tokenizer.sid import item_key

SETTINGS = PopularitySettings(half_life_hours=24, refresh_s=10)
HALF_LIFE_MS = SETTINGS.decay.half_life_ms
DIM = 2


class Seconds:
    now = 100.0

    def __call__(self):
        return self.now


class Scene:
    def __init__(self):
        self.seconds, self.metrics = Seconds(), Metrics()
        self.live = LivePopularity(SETTINGS, 0, self.metrics, self.seconds)
        catalogue = Catalogue("v1", (2, 2), DIM, lambda ids, codes, x: (x, np.ones(len(ids), np.float32)), x_dim=DIM)
        catalogue.apply([CatalogueUpdate(i, n, ItemFacts(), (0, 0), b"\1\1", 1.0) for n, i in enumerate("abc")])
        self.snapshot = catalogue.snapshot()

    def order(self, now_ms=0):
        ranked = self.live.ranked(self.snapshot, now_ms)
        return "".join(ranked.item_ids(ranked.bucket_rows))

    def count(self, outcome):
        return self.metrics.popularity_records.labels(outcome)._value.get()


def part(partition, item_id, listens, half_life_ms=HALF_LIFE_MS, step=0):
    key = item_key(item_id)
    counts = Counts.from_step(step, np.array([key], np.uint64), np.array([listens]))
    return part_key(partition, key >> 56), CountedPart(half_life_ms, 9, counts).to_bytes()


def mark(partition):
    return part_key(partition, None), CountedPart(HALF_LIFE_MS, 9, Counts.empty()).to_bytes()


@pytest.fixture
def scene():
    return Scene()


def test_partitions_are_summed_and_a_newer_value_replaces_the_older(scene):
    assert not scene.live.is_due
    scene.live.feed([part(0, "b", 2), part(1, "b", 2), part(0, "c", 3), mark(0)])
    assert scene.live.is_due
    assert scene.order() == "bca"
    assert not scene.live.is_due
    scene.live.feed([part(1, "b", 0.5)])
    assert scene.order() == "bca"
    scene.seconds.now += 10
    assert scene.order() == "cba"
    assert scene.metrics.popularity_items._value.get() == 2


def test_a_removed_part_no_longer_counts(scene):
    scene.live.feed([part(0, "b", 2), part(0, "c", 3)])
    assert scene.order() == "cba"
    scene.live.feed([(part(0, "c", 0)[0], None)])
    scene.seconds.now += 10
    assert scene.order() == "bac"


def test_foreign_records_are_skipped(scene):
    scene.live.feed(
        [(b"nonsense", b"x"), (None, None), (b"0/00", b"\x07"), part(0, "a", 9, half_life_ms=5), part(0, "b", 1)]
    )
    assert scene.order() == "bac"
    assert (scene.count("malformed"), scene.count("other_half_life"), scene.count("applied")) == (3, 1, 1)


def test_counts_later_than_a_stopped_log_clock_are_finite(scene):
    scene.live.feed([part(0, "b", 1, step=20_000 * 16)])
    ranked = scene.live.ranked(scene.snapshot, 0)
    assert ranked.popularity.tolist() == [0, 1, 0]
