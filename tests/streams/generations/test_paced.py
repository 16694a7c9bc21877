import base64

import numpy as np

from sidestream.models.records import ItemSids, TokenizedItem
from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.generations.paced import missing_keys, run_at_full_speed, throttle
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.runtime.clock import LogClock
from sidestream.streams.runtime.metrics import Metrics
from sidestream.tokenizer.catalogue import Catalogue

VERSION, SIZES, DIM = "00112233aabb", (4, 4), 4


def record(item_id):
    tokenized = TokenizedItem(sid=(1, 2), vector=base64.b64encode(b"\x01\x02\x03\x04").decode(), vector_scale=0.5)
    value = ItemSids(item_id=item_id, kind="track", source_offset=0, versions={VERSION: tokenized})
    return item_id.encode(), value.to_json()


def paced(*item_ids, rests=None):
    catalogue = Catalogue(VERSION, SIZES, DIM, lambda ids, codes, x: (x, np.ones(len(ids), np.float32)), x_dim=DIM)
    sleep = [].append if rests is None else rests.append
    decoder = UpdateDecoder(VERSION, SIZES, DIM)
    made = CurrentCatalogue(catalogue, decoder, CatalogueSettings(), Metrics(), LogClock(), sleep=sleep)
    made.apply([record(item_id) for item_id in item_ids], 0.0)
    made.build()
    return made


def test_a_catalogue_that_does_not_serve_rests_after_every_batch_and_updates_no_metrics():
    rests, shown = [], Metrics()
    made = paced(rests=rests)
    throttle(made, GenerationSettings(fill_batch=2, fill_rest=3.0))
    made.apply([record(name) for name in "abcde"], 0.0)
    assert len(rests) == 3
    assert min(rests) > 0
    assert made.build().num_items == 5
    assert made.rebuilds.wait_s() > 0.5
    run_at_full_speed(made, shown)
    assert shown.catalogue_items._value.get() == 5
    made.apply([record("f")], 0.0)
    assert len(rests) == 3
    assert made.rebuilds.wait_s() < 0.1


def test_missing_items_are_still_served_and_not_in_the_other_catalogue():
    then, now, other = paced("a", "b", "gone").snapshot, paced("a", "b", "new").snapshot, paced("b", "more").snapshot
    assert missing_keys(then, now, other) == 1
    assert missing_keys(then, now, now) == 0
    assert missing_keys(paced().snapshot, now, other) == 0
