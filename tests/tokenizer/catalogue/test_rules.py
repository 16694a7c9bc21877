"""Rules as masks: every combination equals judging items one by one, without copying a snapshot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts

SIZES, DIM = (3, 4), 2
KINDS = ["track", "episode", "audiobook", "live"]


def vectorize(item_ids, codes, x):
    return x, np.ones(len(item_ids), np.float32)


def catalogue_of(facts):
    catalogue = Catalogue("v1", SIZES, DIM, vectorize, x_dim=DIM)
    catalogue.apply([CatalogueUpdate(f"i{n}", n, one, (n % 3, n % 4), b"\1\1", 1.0) for n, one in enumerate(facts)])
    return catalogue


facts = st.builds(
    ItemFacts,
    kind=st.sampled_from(KINDS),
    market=st.sampled_from([(), ("SE",), ("SE", "DE"), ("DE", "SE")]),
    language=st.sampled_from([None, "en", "en-GB", "EN", "sv", "es"]),
    explicit=st.booleans(),
    expires_at=st.sampled_from([None, None, 5, 9]),
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "market": st.sampled_from(["SE", "DE", "FR"]),
        "allow_explicit": st.booleans(),
        "languages": st.frozensets(st.sampled_from(["en", "sv", "en-GB", "e"]), min_size=1),
        "kinds": st.frozensets(st.sampled_from(KINDS), min_size=1),
        "live_now": st.booleans(),
    },
)


def passes(one, now_ms, market=None, allow_explicit=True, languages=None, kinds=None, live_now=None):
    """The rules in words."""
    ended = one.expires_at is not None and one.expires_at <= now_ms
    in_language = one.language is None or languages is None
    for wanted in languages or ():
        language = (one.language or "").lower()
        in_language |= language == wanted.lower() or language.startswith(wanted.lower() + "-")
    return (
        not ended
        and (market is None or not one.market or market in one.market)
        and (allow_explicit or not one.explicit)
        and in_language
        and (kinds is None or one.kind in kinds)
        and (live_now is None or (one.kind == "live") == live_now)
    )


@given(st.lists(facts, max_size=20), rules, st.sampled_from([0, 5, 20]), st.lists(facts, max_size=5))
@settings(max_examples=120, deadline=None)
def test_masks_equal_the_rules_item_by_item_also_in_the_next_snapshot(items, rule, now_ms, more):
    catalogue = catalogue_of(items)
    snapshot = catalogue.snapshot(0)
    got = snapshot.eligibility(**rule, now_ms=now_ms)
    assert got.item.tolist() == [passes(one, now_ms, **rule) for one in items]
    alive = {snapshot.sid_of_row(row) for row in np.flatnonzero(got.item).tolist()}
    every = sorted({(n % 3, n % 4) for n in range(len(items))})
    assert got.nodes[1].tolist() == [sid in alive for sid in every]
    # A rule that was asked for is ready in the next snapshot, and right for what came since.
    catalogue.apply(
        [CatalogueUpdate(f"m{n}", 100 + n, one, (n % 3, n % 4), b"\1\1", 1.0) for n, one in enumerate(more)]
    )
    following = catalogue.snapshot(now_ms)
    got = following.eligibility(**rule, now_ms=now_ms)
    assert got.item.tolist() == [passes(one, now_ms, **rule) for one in [*items, *more]]


def test_a_live_stream_is_live_until_it_has_ended_and_then_nowhere():
    catalogue = catalogue_of([ItemFacts(kind="live", expires_at=9), ItemFacts(kind="live"), ItemFacts(kind="track")])
    snapshot = catalogue.snapshot(0)

    def listed(**rule):
        return np.flatnonzero(snapshot.eligibility(**rule).item).tolist()

    assert listed(live_now=True, now_ms=8) == [0, 1]
    assert listed(live_now=True, now_ms=9) == [1]
    assert listed(live_now=False, now_ms=9) == [2]
    assert listed(kinds=frozenset({"live", "track"}), now_ms=9) == [1, 2]
    assert catalogue.snapshot(9).num_items == 2


def test_masks_are_compiled_once_a_rule_and_snapshot_and_share_its_arrays():
    catalogue = catalogue_of([ItemFacts(language="sv"), ItemFacts(language="en")])
    snapshot = catalogue.snapshot(0)
    arrays = [id(array) for array in (snapshot.bucket_rows, snapshot.rows.vector_table, *snapshot.level_codes)]
    first = snapshot.eligibility(languages=frozenset({"sv"}), now_ms=0)
    assert snapshot.eligibility(languages=frozenset({"sv"}), now_ms=0) is first
    assert first.mask_id != snapshot.eligibility(languages=frozenset({"en"}), now_ms=0).mask_id
    assert first.mask_id != snapshot.eligibility(languages=frozenset({"sv"}), live_now=False, now_ms=0).mask_id
    assert [id(a) for a in (snapshot.bucket_rows, snapshot.rows.vector_table, *snapshot.level_codes)] == arrays


def test_each_different_trait_is_judged_once_however_many_items(monkeypatch):
    from sidestream.tokenizer.catalogue.eligibility import Rule

    snapshot = catalogue_of([ItemFacts(market=("SE",), explicit=bool(n % 2)) for n in range(200)]).snapshot(0)
    judged = []
    accepts = Rule.accepts
    monkeypatch.setattr(Rule, "accepts", lambda self, traits: judged.append(traits) or accepts(self, traits))
    assert snapshot.eligibility(market="SE", allow_explicit=False).item.sum() == 100
    assert len(judged) == 2


@pytest.mark.parametrize("market", [("SE", "DE"), ("DE", "SE", "SE")])
def test_markets_are_a_set(market):
    snapshot = catalogue_of([ItemFacts(market=market), ItemFacts(market=("SE", "DE"))]).snapshot(0)
    assert len(snapshot.traits) == 1
