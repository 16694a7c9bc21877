"""Ranked snapshots: order by counts, then weight; new items; nothing else changes."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts
from sidestream.tokenizer.popularity import Counts, Decay, Ranking, merge_counts, popularity_scores
from sidestream.tokenizer.sid import item_key

SIZES, DIM = (3, 4), 4
HOUR_MS = 3_600_000
DECAY = Decay(24 * HOUR_MS)
NOW_MS = 100 * 24 * HOUR_MS


class Weights:
    def __init__(self):
        self.by_id = {}

    def __call__(self, item_ids, codes, x):
        return x, np.array([self.by_id.get(item_id, 1.0) for item_id in item_ids], np.float32)


def catalogue_of(weights):
    return Catalogue("v1", SIZES, DIM, weights, x_dim=DIM)


def upsert(item_id, offset, sid=(1, 2), **facts):
    return CatalogueUpdate(item_id, offset, ItemFacts(**facts), sid, b"\1\2\3\4", 0.5)


def counts_of(listens, at=NOW_MS):
    keys = np.array([item_key(item_id) for item_id in listens], np.uint64)
    return Counts.from_step(at // DECAY.step_ms, keys, np.array(list(listens.values())))


def ranking(counts, now_ms=NOW_MS, fresh_hours=0.0, fresh_share=1.0):
    made = Ranking(DECAY, fresh_hours, fresh_share)
    made.update(counts, now_ms)
    return made


def buckets(snapshot):
    bounds = snapshot.bucket_offsets
    return [snapshot.item_ids(snapshot.bucket_rows[a:b]) for a, b in itertools.pairwise(bounds)]


def test_counts_order_buckets_and_popular_items_before_weights():
    weights = Weights()
    weights.by_id = {"heavy": 9.0, "heard": 1.0, "much": 2.0, "alone": 3.0}
    catalogue = catalogue_of(weights)
    catalogue.apply([upsert(item_id, n) for n, item_id in enumerate(("heavy", "heard", "much"))])
    catalogue.apply([upsert("alone", 3, sid=(0, 0))])
    before = catalogue.snapshot()
    assert buckets(before) == [["alone"], ["heavy", "much", "heard"]]
    after = ranking(counts_of({"heard": 2, "much": 5})).ranked(before)
    assert buckets(after) == [["alone"], ["much", "heard", "heavy"]]
    assert after.item_ids(after.popular_rows) == ["much", "heard", "heavy", "alone"]
    assert after.version != before.version
    # The snapshot before is as it was, and what is dear to build is shared.
    assert buckets(before) == [["alone"], ["heavy", "much", "heard"]]
    assert after.trie.node_vectors is before.trie.node_vectors
    assert after.rows is before.rows


def test_without_counts_the_snapshot_stays_the_same():
    catalogue = catalogue_of(Weights())
    catalogue.apply([upsert("a", 0)])
    snapshot = catalogue.snapshot()
    assert ranking(Counts.empty(), fresh_hours=72).ranked(snapshot) is snapshot
    assert popularity_scores(snapshot, np.array([0], np.int32)).tolist() == [1.0]


def test_a_new_item_counts_as_a_share_of_the_mean_for_some_hours():
    catalogue = catalogue_of(Weights())
    catalogue.apply(
        [
            upsert("much", 0),
            upsert("little", 1),
            upsert("new", 2, published_at=NOW_MS - HOUR_MS),
            upsert("old", 3, published_at=NOW_MS - 5 * HOUR_MS),
            upsert("to come", 4, published_at=NOW_MS + 1_000),
            upsert("unknown", 5),
        ]
    )
    snapshot = catalogue.snapshot()
    ranks = ranking(counts_of({"much": 9, "little": 1}), fresh_hours=4, fresh_share=0.5)
    after = ranks.ranked(snapshot)
    by_id = dict(zip(after.item_ids(np.arange(6)), after.popularity.tolist(), strict=True))
    assert by_id == pytest.approx({"much": 9, "little": 1, "new": 2.5, "old": 0, "to come": 0, "unknown": 0})
    assert buckets(after)[0][:3] == ["much", "new", "little"]
    # Four hours later it is no longer new.
    ranks.update(counts_of({"much": 9, "little": 1}), NOW_MS + 4 * HOUR_MS)
    assert buckets(ranks.ranked(snapshot))[0] == ["much", "to come", "little", "new", "old", "unknown"]


def test_items_added_between_two_refreshes_are_ranked():
    catalogue = catalogue_of(Weights())
    catalogue.apply([upsert("a", 0), upsert("b", 1)])
    ranks = ranking(counts_of({"b": 3, "late": 5}))
    assert buckets(ranks.ranked(catalogue.snapshot())) == [["b", "a"]]
    catalogue.apply([upsert("late", 2), CatalogueUpdate("a", 3)])
    after = ranks.ranked(catalogue.snapshot())
    assert buckets(after) == [["late", "b"]]
    assert after.item_ids(after.popular_rows) == ["late", "b"]
    # A changed item has another row and the same listens.
    catalogue.apply([upsert("b", 4, sid=(0, 0), title="b, changed")])
    assert sorted(buckets(ranks.ranked(catalogue.snapshot()))) == [["b"], ["late"]]
    newest = ranks.ranked(catalogue.snapshot())
    assert popularity_scores(newest, newest.popular_rows).astype(int).tolist() == [5, 3]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=25),
    st.dictionaries(st.integers(0, 24), st.integers(1, 4), max_size=20),
)
@settings(max_examples=80, deadline=None)
def test_ranked_equals_sorting_all(items, heard):
    weights = Weights()
    weights.by_id = {f"i{n}": float(weight) for n, (_, _, weight) in enumerate(items)}
    catalogue = catalogue_of(weights)
    catalogue.apply([upsert(f"i{n}", n, sid=(a, b)) for n, (a, b, _) in enumerate(items)])
    snapshot = catalogue.snapshot()
    after = ranking(counts_of({f"i{n}": count for n, count in heard.items()})).ranked(snapshot)
    for got, was in zip(buckets(after), buckets(snapshot), strict=True):

        def rank(item_id):
            number = int(item_id[1:])
            return -heard.get(number, 0), -weights.by_id[item_id], number

        assert got == sorted(was, key=rank)
    popular = after.item_ids(after.popular_rows)

    def standing(item_id):
        return -heard.get(int(item_id[1:]), 0), -weights.by_id[item_id], item_key(item_id)

    assert popular == sorted(weights.by_id, key=standing)


def test_rules_compiled_before_hold_for_the_ranked_snapshot_and_are_carried_on():
    catalogue = catalogue_of(Weights())
    catalogue.apply([upsert(f"i{n}", n, sid=(n % 3, 0), market=("SE",) if n % 2 else ()) for n in range(9)])
    ranks = ranking(counts_of({"i7": 2}))
    ranked = ranks.ranked(catalogue.snapshot(0))
    masks = ranked.eligibility(market="DE", now_ms=0)
    assert sorted(ranked.item_ids(np.flatnonzero(masks.item))) == ["i0", "i2", "i4", "i6", "i8"]
    catalogue.apply([upsert("more", 10)])
    following = ranks.ranked(catalogue.snapshot(0))
    compiled = dataclasses.replace(following, _rules={}, _requested=set())
    got, wanted = following.eligibility(market="DE", now_ms=0), compiled.eligibility(market="DE", now_ms=0)
    assert got.item.tolist() == wanted.item.tolist()
    assert [nodes.tolist() for nodes in got.nodes] == [nodes.tolist() for nodes in wanted.nodes]


def test_order_is_of_all_partitions_together():
    catalogue = catalogue_of(Weights())
    catalogue.apply([upsert("a", 0), upsert("b", 1)])
    parts = [counts_of({"a": 2}), counts_of({"b": 3}), counts_of({"a": 2})]
    for order in (parts, parts[::-1]):
        assert buckets(ranking(merge_counts(order)).ranked(catalogue.snapshot())) == [["a", "b"]]
