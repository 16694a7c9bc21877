"""Items with several SIDs: in each of their buckets, and once in every list, after any change."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts, catalogue
from sidestream.tokenizer.errors import CatalogueError
from sidestream.tokenizer.sid import item_key

SIZES, DIM = (3, 4), 2
HOUR_MS = 3_600_000


def vectorize(item_ids, codes, x):
    return x + codes[:, :1], np.array([1.0 + len(item_id) for item_id in item_ids], np.float32)


def new_catalogue():
    return Catalogue("v1", SIZES, DIM, vectorize, x_dim=DIM)


def upsert(item_id, offset, sid, *more, **facts):
    return CatalogueUpdate(item_id, offset, ItemFacts(**facts), sid, b"\1\2", 0.5, more_sids=more)


def buckets(snapshot):
    """Item ids by SID."""
    found = {}
    for start, end in itertools.pairwise(snapshot.bucket_offsets.tolist()):
        rows = snapshot.bucket_rows[start:end]
        found[snapshot.sid_of_row(rows[0])] = sorted(snapshot.item_ids(rows))
    return found


def ids(snapshot, rows):
    return sorted(snapshot.item_ids(rows))


def test_an_item_is_in_each_of_its_buckets_and_once_in_every_list():
    subject = new_catalogue()
    subject.apply(
        [upsert("a", 0, (1, 2), (0, 0), (1, 3), published_at=5_000), upsert("b", 1, (0, 0), published_at=4_000)]
    )
    snapshot = subject.snapshot()
    assert buckets(snapshot) == {(0, 0): ["a", "b"], (1, 2): ["a"], (1, 3): ["a"]}
    assert snapshot.num_items == 2
    assert snapshot.aliases.max_sids == 3
    assert snapshot.item_ids(snapshot.newest_rows) == ["a", "b"]
    assert ids(snapshot, snapshot.popular_rows) == ["a", "b"]
    # The key, and with it a history, has the first SID.
    assert snapshot.stored_sid(item_key("a")).sid == (1, 2)
    (row,) = snapshot.row_of_key(np.array([item_key("a")], np.uint64)).tolist()
    every = snapshot.aliases.with_aliases(np.array([row], np.int32))
    assert [snapshot.sid_of_row(r) for r in every.tolist()] == [(1, 2), (0, 0), (1, 3)]
    assert snapshot.aliases.item_rows(every).tolist() == [row] * 3
    assert (snapshot.item_vectors[every] == snapshot.item_vectors[row]).all()
    assert [snapshot.facts(r).published_at for r in every.tolist()] == [5_000] * 3


def test_repeats_among_the_sids_count_once():
    subject = new_catalogue()
    subject.apply([upsert("a", 0, (1, 2), (1, 2), (0, 0), (0, 0))])
    assert buckets(subject.snapshot()) == {(0, 0): ["a"], (1, 2): ["a"]}


@pytest.mark.parametrize("more", [(0,), (0, 4), (0, -1), (0, 0, 0)])
def test_a_further_sid_that_does_not_fit_is_refused_whole(more):
    subject = new_catalogue()
    with pytest.raises(CatalogueError, match="'a' at source offset 7"):
        subject.apply([upsert("a", 7, (1, 2), more)])
    assert subject.snapshot().num_rows == 0


def test_expired_and_removed_items_leave_all_their_buckets_and_return_to_them():
    subject = new_catalogue()
    subject.apply([upsert("a", 0, (1, 2), (0, 0)), upsert("live", 1, (2, 2), (0, 0), expires_at=5)])
    assert buckets(subject.snapshot(0)) == {(0, 0): ["a", "live"], (1, 2): ["a"], (2, 2): ["live"]}
    assert buckets(subject.snapshot(5)) == {(0, 0): ["a"], (1, 2): ["a"]}
    subject.apply([CatalogueUpdate("a", 2)])
    assert subject.snapshot(5).num_items == 0
    subject.apply([upsert("a", 3, (1, 2), (0, 0))])  # the very same again: no new row
    assert buckets(subject.snapshot(5)) == {(0, 0): ["a"], (1, 2): ["a"]}


def test_masks_reach_every_alias():
    subject = new_catalogue()
    subject.apply([upsert("a", 0, (1, 2), (0, 0), market=("SE",)), upsert("b", 1, (2, 2), (2, 3))])
    snapshot = subject.snapshot()
    assert ids(snapshot, np.flatnonzero(snapshot.eligibility(market="DE").item)) == ["b", "b"]
    only_a = np.array([snapshot.item_id(row) == "a" for row in range(snapshot.num_rows)])
    only_a &= ~np.isin(np.arange(snapshot.num_rows), snapshot.aliases.rows)
    rules = snapshot.eligibility(item_mask=only_a)
    assert ids(snapshot, np.flatnonzero(rules.item)) == ["a", "a"]
    assert rules.nodes[1].tolist() == [True, True, False, False]


sids = st.tuples(*(st.integers(0, size - 1) for size in SIZES))
names = st.sampled_from([f"i{n}" for n in range(7)])
upserts = st.builds(
    lambda item_id, sid, more, title, expires_at: (item_id, sid, tuple(more), title, expires_at),
    names,
    sids,
    st.lists(sids, max_size=3),
    st.sampled_from(["", "x"]),
    st.sampled_from([None, None, 5]),
)


@pytest.fixture(autouse=True, scope="module")
def early_compaction():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "_MIN_DEAD_ROWS", 3)
        yield


@given(st.lists(st.lists(st.one_of(upserts, names), min_size=1, max_size=6), max_size=8), st.integers(0, 9))
@settings(max_examples=120, deadline=None)
def test_buckets_match_the_items_after_any_updates(batches, now_ms):
    subject, model, offset = new_catalogue(), {}, 0
    held = []
    for batch in batches:
        updates = []
        for change in batch:
            offset += 1
            if isinstance(change, str):
                updates.append(CatalogueUpdate(change, offset))
                model.pop(change, None)
            else:
                item_id, sid, more, title, expires_at = change
                updates.append(upsert(item_id, offset, sid, *more, title=title, expires_at=expires_at))
                model[item_id] = {sid, *more}, expires_at
        subject.apply(updates)
        snapshot = subject.snapshot(now_ms)
        wanted = {}
        alive = {i: some for i, (some, expires_at) in model.items() if expires_at is None or expires_at > now_ms}
        for item_id, some in alive.items():
            for sid in some:
                wanted.setdefault(sid, []).append(item_id)
        assert buckets(snapshot) == {sid: sorted(items) for sid, items in wanted.items()}
        assert snapshot.num_items == len(alive)
        assert ids(snapshot, snapshot.popular_rows) == ids(snapshot, snapshot.newest_rows) == sorted(alive)
        items = snapshot.aliases.item_rows(snapshot.bucket_rows)
        assert snapshot.item_ids(items) == snapshot.item_ids(snapshot.bucket_rows)
        assert len(set(items.tolist())) == len(alive)
        held.append((snapshot, buckets(snapshot)))
    for snapshot, was in held:
        assert buckets(snapshot) == was


def test_a_restored_catalogue_continues_with_its_aliases():
    subject = new_catalogue()
    subject.apply([upsert("a", 0, (1, 2), (0, 0), language="sv"), upsert("b", 1, (0, 0), expires_at=5)])
    restored = new_catalogue()
    restored.restore(subject.frozen())
    assert buckets(restored.snapshot(0)) == buckets(subject.snapshot(0)) == {(0, 0): ["a", "b"], (1, 2): ["a"]}
    assert restored.snapshot(0).num_items == 2
    assert restored.snapshot(0).stored_sid(item_key("a")).sid == (1, 2)
    for one in (subject, restored):
        one.apply([upsert("a", 2, (2, 2), (2, 3)), upsert("c", 3, (0, 0), language="sv")])
    assert buckets(restored.snapshot(9)) == buckets(subject.snapshot(9))
    assert restored.snapshot(9).traits == subject.snapshot(9).traits
