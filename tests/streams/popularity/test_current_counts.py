"""A worker's totals: visible at a refresh, foreign records skipped, kept once in memory."""

import numpy as np
import pytest

from sidestream.streams.popularity.current_counts import CountsHub, LivePopularity
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import CountedPart, part_key, total_key
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


def total(item_id, listens, half_life_ms=HALF_LIFE_MS, step=0):
    key = item_key(item_id)
    counts = Counts.from_step(step, np.array([key], np.uint64), np.array([listens]))
    return total_key(key >> 56), CountedPart(half_life_ms, 9, counts).to_bytes()


@pytest.fixture
def scene():
    return Scene()


def test_totals_order_the_catalogue_and_a_newer_value_replaces_the_older(scene):
    assert not scene.live.is_due
    scene.live.feed([total("b", 4), total("c", 3)])
    assert scene.live.is_due
    assert scene.order() == "bca"
    assert not scene.live.is_due
    scene.live.feed([total("b", 3.5), total("b", 2.5)])
    assert scene.order() == "bca"
    scene.seconds.now += 10
    assert scene.order() == "cba"
    assert scene.metrics.popularity_items._value.get() == 2
    assert scene.count("applied") == 3


def test_a_removed_total_no_longer_counts(scene):
    scene.live.feed([total("b", 2), total("c", 3)])
    assert scene.order() == "cba"
    scene.live.feed([(total("c", 0)[0], None)])
    scene.seconds.now += 10
    assert scene.order() == "bac"


def test_foreign_records_are_skipped(scene):
    older_form = part_key(0, 255), total("c", 9)[1]
    foreign = [(b"nonsense", b"x"), (None, None), (b"00", b"\x07"), older_form, total("a", 9, half_life_ms=5)]
    scene.live.feed([*foreign, total("b", 1)])
    assert scene.order() == "bac"
    assert (scene.count("malformed"), scene.count("other_half_life"), scene.count("applied")) == (4, 1, 1)


def test_counts_later_than_a_stopped_log_clock_are_finite(scene):
    scene.live.feed([total("b", 1, step=20_000 * 16)])
    ranked = scene.live.ranked(scene.snapshot, 0)
    assert ranked.popularity.tolist() == [0, 1, 0]


def test_all_catalogues_of_a_worker_share_the_values():
    """Totals of a million items are 16 MB, once for a worker."""
    hub = CountsHub(SETTINGS, 0, Metrics())
    key, value = total("b", 2)
    hub.feed([(key, b"older"), (key, value)])
    catalogues = [hub.subscribe(), hub.subscribe()]
    hub.feed([(key, value)])
    for live in catalogues:
        assert list(live._inbox) == [key]
        live._merge()
        assert np.shares_memory(live._totals[int(key, 16)].weights, np.frombuffer(value, np.uint8))
