"""For any order of updates, a snapshot equals the dict model, and previous snapshots do not change."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.catalogue import CatalogueUpdate, ItemFacts, catalogue, live_rows, rows, snapshot
from sidestream.tokenizer.catalogue.trie import csr, means
from tests.tokenizer.catalogue import catalogue_model as cm

ITEM_IDS = [f"item-{n}" for n in range(9)] + ["", "ünïcode ♪", "x" * 256]
facts = st.builds(
    ItemFacts,
    title=st.sampled_from(["", "a", "long title " * 20]),
    creator=st.sampled_from([None, "A", "B"]),
    market=st.sampled_from([(), ("SE",), ("SE", "DE")]),
    explicit=st.booleans(),
    published_at=st.sampled_from([None, -315_619_200_000, 0, 3_000, 3_900, 2**45]),
    expires_at=st.sampled_from([None, None, 5, 10]),
)
sids = st.tuples(*(st.integers(0, size - 1) for size in cm.SIZES))
upserts = st.builds(
    CatalogueUpdate,
    item_id=st.sampled_from(ITEM_IDS),
    source_offset=st.integers(0, 20),
    facts=facts,
    sid=st.one_of(sids, sids, sids, st.none()),
    x_int8=st.binary(min_size=cm.DIM, max_size=cm.DIM),
    x_scale=st.sampled_from([0.0, 0.01, 1.0]),
    revision=st.sampled_from([0, 0, 1, 2]),
)
removals = st.builds(CatalogueUpdate, item_id=st.sampled_from(ITEM_IDS), source_offset=st.none() | st.integers(0, 20))
batches = st.lists(st.lists(st.one_of(upserts, upserts, removals), max_size=12), max_size=8)
clock = st.sampled_from([None, 0, 7, 20])


@pytest.fixture(autouse=True, scope="module")
def small_buffers():
    """Make growth, compaction, chunks and both ways of summing happen among a dozen items."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_INITIAL_ROWS", 2)
        patch.setattr(rows, "_INITIAL_TEXT_BYTES", 16)
        patch.setattr(catalogue, "_MIN_DEAD_ROWS", 3)
        patch.setattr(means, "_PICKS_PER_CHUNK", 3)
        patch.setattr(csr, "_MIN_RUN", 1)
        patch.setattr(means, "_MEMBERS_PER_SUM", 2)
        patch.setattr(means, "_MIN_MEMBERS", 2)
        patch.setattr(live_rows, "_MAX_MERGED_SHARE", 2.0)
        patch.setattr(live_rows, "MAX_LISTED_ROWS", 4)
        patch.setattr(live_rows, "_RESERVE_ROWS", 2)
        yield


@given(batches, st.lists(clock, min_size=8, max_size=8))
@settings(max_examples=80, deadline=None)
def test_snapshot_equals_dict_model_and_readers_see_no_change(updates, clocks):
    subject, model = cm.new_catalogue(), cm.Model()
    held = []
    for batch, now_ms in zip(updates, clocks, strict=False):
        subject.apply(batch)
        for update in batch:
            model.apply(update)
        snapshot = subject.snapshot(now_ms)
        cm.check(snapshot, model, now_ms)
        held.append((snapshot, [array.copy() for array in cm.arrays_of(snapshot)]))
    for snapshot, copies in held:
        for array, copy in zip(cm.arrays_of(snapshot), copies, strict=True):
            np.testing.assert_array_equal(array, copy)
            assert array.flags.c_contiguous


@given(batches, st.data())
@settings(max_examples=40, deadline=None)
def test_batching_does_not_change_what_is_held(updates, data):
    flat = [update for batch in updates for update in batch]
    model, one_by_one, together = cm.Model(), cm.new_catalogue(), cm.new_catalogue()
    together.apply(flat)
    for update in flat:
        model.apply(update)
        one_by_one.apply([update])
    # What was applied may come again in any order that keeps the newest of each item newest.
    replay = data.draw(st.permutations([u for u in flat if u.source_offset is not None]))
    newest = {item_id: item.order for item_id, item in model.items.items()}
    together.apply([u for u in replay if (u.source_offset, u.revision) < newest[u.item_id]])
    for subject in (one_by_one, together):
        cm.check(subject.snapshot(), model, None)


@given(batches, st.sampled_from([None, "SE", "FR"]), st.booleans(), clock, st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_eligibility_equals_rules_on_facts(updates, market, allow_explicit, now_ms, seed):
    subject = cm.new_catalogue()
    for batch in updates:
        subject.apply(batch)
    snapshot = subject.snapshot(0)
    mask = np.random.default_rng(seed).random(snapshot.num_rows) < 0.7
    for item_mask in (None, mask):
        got = snapshot.eligibility(market=market, allow_explicit=allow_explicit, now_ms=now_ms, item_mask=item_mask)
        for row in range(snapshot.num_rows):
            fact = snapshot.facts(row)
            expected = (
                bool(snapshot.row_alive[row])
                and (market is None or not fact.market or market in fact.market)
                and (allow_explicit or not fact.explicit)
                and (now_ms is None or cm.expiry(fact) > now_ms)
                and (item_mask is None or bool(mask[row]))
            )
            assert bool(got.item[row]) == expected
        sid_rows = snapshot.bucket_rows[got.item[snapshot.bucket_rows]]
        reachable = {snapshot.sid_of_row(row) for row in sid_rows.tolist()}
        prefixes = [()]
        for level, alive in enumerate(got.nodes):
            offsets, codes = snapshot.level_offsets[level], snapshot.level_codes[level]
            prefixes = [
                (*prefix, int(codes[child]))
                for parent, prefix in enumerate(prefixes)
                for child in range(offsets[parent], offsets[parent + 1])
            ]
            assert alive.tolist() == [p in {sid[: level + 1] for sid in reachable} for p in prefixes]


@given(batches, st.lists(clock, min_size=8, max_size=8))
@settings(max_examples=150, deadline=None)
def test_merged_snapshots_equal_one_built_from_scratch(updates, clocks):
    subject = cm.new_catalogue()
    for batch, now_ms in zip(updates, clocks, strict=False):
        subject.apply(batch)
        snapshot = subject.snapshot(now_ms)
        cm.check_against_scratch(snapshot)


RULES = [{}, {"market": "SE"}, {"market": "FR"}, {"allow_explicit": False}]


@given(batches, st.data())
@settings(max_examples=100, deadline=None)
def test_masks_carried_to_the_next_snapshot_equal_compiled_masks(updates, data):
    subject = cm.new_catalogue()
    for now_ms, batch in enumerate(updates):
        subject.apply(batch)
        snapshot = subject.snapshot(now_ms)
        compiled = dataclasses.replace(snapshot, _rules={}, _requested=set())
        for rule in data.draw(st.lists(st.sampled_from(RULES))):
            got, wanted = snapshot.eligibility(**rule, now_ms=now_ms), compiled.eligibility(**rule, now_ms=now_ms)
            assert got.item.tolist() == wanted.item.tolist()
            assert [nodes.tolist() for nodes in got.nodes] == [nodes.tolist() for nodes in wanted.nodes]
            assert got.valid_until_at <= wanted.valid_until_at


def test_masks_are_carried_not_compiled_again(monkeypatch):
    subject = cm.new_catalogue()
    facts = ItemFacts(market=("SE",))
    subject.apply([CatalogueUpdate(f"i{n}", n, facts, (n % 3, 0, 0), b"\1\2\3\4", 1.0) for n in range(9)])
    subject.snapshot(0).eligibility(market="SE", now_ms=0)
    subject.apply([CatalogueUpdate("new", 9, facts, (0, 1, 0), b"\1\2\3\4", 1.0), CatalogueUpdate("i0", 10)])
    after = subject.snapshot(0)
    monkeypatch.setattr(snapshot, "compile_rule", None)
    assert after.eligibility(market="SE", now_ms=0).item.tolist() == [False] + [True] * 9
