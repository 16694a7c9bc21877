"""The catalogue writer: refused updates, kept state, and isolation of readers."""

import dataclasses

import numpy as np
import pytest

from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts, catalogue, encoding, rows, validation
from sidestream.tokenizer.catalogue.trie.csr import Splice
from sidestream.tokenizer.errors import CatalogueError
from sidestream.tokenizer.sid import item_key
from tests.tokenizer.catalogue import catalogue_model as cm


def upsert(item_id, offset=0, sid=(0, 0, 0), x=(1, 2, 3, 4), **facts):
    return CatalogueUpdate(item_id, offset, ItemFacts(**facts), sid, np.array(x, dtype=np.int8), 0.5)


def row(snapshot, item_id):
    return int(snapshot.row_of_key(np.array([item_key(item_id)], dtype=np.uint64))[0])


def test_empty_catalogue_has_a_root_and_nothing_else():
    snapshot = cm.new_catalogue().snapshot()
    assert (snapshot.num_items, snapshot.num_rows, snapshot.max_bucket) == (0, 0, 0)
    assert snapshot.max_children == (0, 0, 0)
    assert [offsets.tolist() for offsets in snapshot.level_offsets] == [[0, 0], [0], [0]]
    assert snapshot.bucket_offsets.tolist() == [0]
    assert [vectors.shape for vectors in snapshot.node_vectors] == [(0, cm.DIM)] * 3
    assert snapshot.item_vectors.shape == (0, cm.DIM)
    rules = snapshot.eligibility(market="SE", now_ms=1, item_mask=np.ones(0, dtype=np.bool_))
    assert [nodes.size for nodes in rules.nodes] == [0, 0, 0]
    assert snapshot.leaf_of_sid(np.zeros((2, 3), dtype=np.int32)).tolist() == [-1, -1]


def test_one_item_is_its_own_node_on_every_level():
    subject = cm.new_catalogue()
    subject.apply([upsert("a", sid=(2, 1, 3))])
    snapshot = subject.snapshot()
    assert [codes.tolist() for codes in snapshot.level_codes] == [[2], [1], [3]]
    for level in range(3):
        np.testing.assert_array_equal(snapshot.node_vectors[level][0], snapshot.item_vectors[0])
    assert snapshot.popular_rows.tolist() == snapshot.newest_rows.tolist() == [0]


def test_removed_item_stays_readable_and_comes_back():
    subject = cm.new_catalogue()
    subject.apply([upsert("a", 1, title="T"), upsert("b", 1)])
    subject.apply([CatalogueUpdate("a", 2)])
    snapshot = subject.snapshot()
    assert snapshot.num_items == 1
    assert snapshot.stored_sid(item_key("a")) == ("v1", (0, 0, 0))
    assert snapshot.facts(row(snapshot, "a")).title == "T"
    assert not snapshot.eligibility().item[row(snapshot, "a")]
    subject.apply([upsert("a", 1, title="old")])
    assert subject.snapshot().num_items == 1
    subject.apply([upsert("a", 3, title="T")])
    again = subject.snapshot()
    assert again.num_items == 2
    # The same content as before its removal needs no new row.
    assert again.num_rows == snapshot.num_rows


def test_removal_of_unknown_item_outlives_older_update():
    subject = cm.new_catalogue()
    subject.apply([CatalogueUpdate("a", 7)])
    subject.apply([upsert("a", 6)])
    assert subject.snapshot().num_items == 0
    subject.apply([upsert("a", 7)])
    assert subject.snapshot().num_items == 1


def test_item_changed_keeps_old_row_for_readers_of_old_snapshot():
    subject = cm.new_catalogue()
    subject.apply([upsert("a", 1, x=(1, 2, 3, 4))])
    before = subject.snapshot()
    subject.apply([upsert("a", 2, sid=(1, 1, 1), x=(9, 9, 9, 9))])
    after = subject.snapshot()
    assert row(before, "a") == 0
    assert row(after, "a") == 1
    assert (before.num_items, after.num_items) == (1, 1)
    assert before.sid_of_row(0) == after.sid_of_row(0) == (0, 0, 0)


def test_rows_are_shared_between_snapshots_not_copied():
    subject = cm.new_catalogue()
    subject.apply([upsert("a", 1)])
    before = subject.snapshot()
    subject.apply([upsert("b", 1)])
    after = subject.snapshot()
    assert np.shares_memory(before.item_vectors, after.item_vectors)
    with pytest.raises(ValueError, match="read-only"):
        before.item_vectors[0, 0] = 5


def test_unchanged_catalogue_returns_the_same_snapshot_until_something_expires():
    subject = cm.new_catalogue()
    subject.apply([upsert("a", 1, expires_at=100), upsert("b", 1)])
    first = subject.snapshot(10)
    subject.apply([])
    assert subject.snapshot(99) is first
    later = subject.snapshot(100)
    assert later is not first
    assert (first.num_items, later.num_items) == (2, 1)
    assert later.version != first.version


def test_values_that_say_nothing_new_make_no_new_snapshot():
    subject = cm.new_catalogue()
    subject.apply([upsert("a", 1), upsert("b", 1), CatalogueUpdate("gone", 1)])
    snapshot = subject.snapshot()
    subject.apply([upsert("b", 1), upsert("a", 2), CatalogueUpdate("gone", 2), CatalogueUpdate("never", 3)])
    assert subject.snapshot() is snapshot
    # Their offsets count all the same.
    subject.apply([upsert("a", 1, sid=(1, 1, 1))])
    assert subject.snapshot() is snapshot
    subject.apply([CatalogueUpdate("a", 2)])
    assert subject.snapshot().num_items == 1


def test_default_eligibility_is_compiled_once_and_again_after_an_expiry():
    subject = cm.new_catalogue()
    subject.apply([upsert("a", 1, expires_at=100), upsert("b", 1)])
    snapshot = subject.snapshot()
    first = snapshot.eligibility(now_ms=10)
    assert snapshot.eligibility(now_ms=99) is first
    later = snapshot.eligibility(now_ms=100)
    assert later.mask_id != first.mask_id
    assert later.item.tolist() == [False, True]
    assert snapshot.eligibility(market="SE").mask_id not in {"", later.mask_id}
    assert snapshot.eligibility(item_mask=np.ones(2, dtype=np.bool_)).mask_id == ""


def test_compaction_gives_rows_back_and_leaves_readers_alone(monkeypatch):
    monkeypatch.setattr(catalogue, "_MIN_DEAD_ROWS", 8)
    subject, model = cm.new_catalogue(), cm.Model()
    for offset in range(12):
        batch = [upsert(f"i{n}", offset, sid=(offset % 3, 0, n), title=f"{offset}") for n in range(4)]
        batch = [dataclasses.replace(update, x_int8=update.x_int8.tobytes()) for update in batch]
        subject.apply(batch)
        for update in batch:
            model.apply(update)
        if offset == 1:
            early, copies = subject.snapshot(), [array.copy() for array in cm.arrays_of(subject.snapshot())]
    snapshot = subject.snapshot()
    assert snapshot.store_generation == early.store_generation + 1
    assert snapshot.num_rows == 4
    cm.check(snapshot, model, None)
    for array, copy in zip(cm.arrays_of(early), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    subject.apply([upsert("i0", 99)])
    assert subject.snapshot().num_items == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sid": (0, 0)}, "SID"),
        ({"sid": ()}, "SID"),
        ({"sid": (0, 2, 0)}, "SID"),
        ({"sid": (0, 0, -1)}, "SID"),
        ({"x_int8": None}, "vector of 4"),
        ({"x_int8": b"123"}, "got 3 bytes"),
        ({"x_int8": np.zeros(1, dtype=np.float32)}, "vector of 4"),
        ({"x_scale": float("nan")}, "scale nan"),
        ({"x_scale": -1.0}, "scale -1.0"),
    ],
)
def test_update_that_does_not_fit_is_refused_and_nothing_applied(change, words):
    subject = cm.new_catalogue()
    with pytest.raises(CatalogueError, match=words) as caught:
        subject.apply([upsert("good", 4), dataclasses.replace(upsert("bad", 5), **change)])
    assert "'bad' at source offset 5" in str(caught.value)
    assert subject.snapshot().num_rows == 0


@pytest.mark.parametrize("same_batch", [True, False])
def test_two_items_of_one_key_are_refused(monkeypatch, same_batch):
    monkeypatch.setattr(catalogue, "item_key", lambda _: 77)
    subject = cm.new_catalogue()
    if not same_batch:
        subject.apply([upsert("one")])
    with pytest.raises(CatalogueError, match="share the key"):
        subject.apply([upsert("two")] if not same_batch else [upsert("one"), upsert("two")])
    assert subject.snapshot().num_items == (0 if same_batch else 1)


@pytest.mark.parametrize(
    "broken",
    [
        lambda ids, codes, x: (x[:, :2], np.ones(len(ids), np.float32)),
        lambda ids, codes, x: (x * np.nan, np.ones(len(ids), np.float32)),
        lambda ids, codes, x: (x, np.zeros(len(ids), np.float32)),
        lambda ids, codes, x: (x, np.full(len(ids), 1e-4, np.float32)),
        lambda ids, codes, x: (x, np.full(len(ids), 1e7, np.float32)),
        lambda ids, codes, x: (x, np.full(len(ids), np.nan, np.float32)),
    ],
)
def test_item_table_that_computes_nonsense_is_refused(broken):
    subject = Catalogue("v1", cm.SIZES, cm.DIM, broken, x_dim=cm.DIM)
    with pytest.raises(CatalogueError, match="item vectors"):
        subject.apply([upsert("a")])
    assert subject.snapshot().num_rows == 0


def test_more_traits_than_a_row_can_name_are_refused(monkeypatch):
    monkeypatch.setattr(encoding, "_MAX_TRAITS", 1)
    subject = cm.new_catalogue()
    subject.apply([upsert("a", market=("SE",)), upsert("b", market=("DE",))])
    with pytest.raises(CatalogueError, match="more than 1 different combinations"):
        subject.apply([upsert("c", market=("SE", "DE"))])
    subject.apply([upsert("c", market=("DE",))])
    assert subject.snapshot().num_items == 3


def test_texts_beyond_what_a_row_can_point_to_are_refused(monkeypatch):
    subject = cm.new_catalogue()
    subject.apply([upsert("a", title="x" * 100)])
    monkeypatch.setattr(rows, "MAX_TEXT_BYTES", 250)
    with pytest.raises(CatalogueError, match="more than 250 bytes"):
        subject.apply([upsert("b", title="x" * 200)])
    with pytest.raises(CatalogueError, match="at most 65535 bytes"):
        subject.apply([upsert("c" * 65_536)])
    subject.apply([upsert("b", title="x")])
    assert subject.snapshot().num_items == 2


@pytest.mark.parametrize("sizes", [(), (0,), (65_537,)])
def test_codebooks_that_u16_cannot_hold_are_refused(sizes):
    with pytest.raises(CatalogueError, match="codebook sizes"):
        Catalogue("v1", sizes, cm.DIM, cm.vectorize)


def test_widest_codebooks_and_many_levels_sort_like_tuples():
    sizes = (65_536,) * 5
    rng = np.random.default_rng(0)
    sids = [tuple(sid) for sid in rng.choice([0, 1, 65_535], size=(60, 5)).tolist()]
    subject = Catalogue("v1", sizes, 2, lambda ids, codes, x: (x, np.ones(len(ids), np.float32)), x_dim=2)
    subject.apply([CatalogueUpdate(f"i{n}", 0, ItemFacts(), sid, b"\x01\x02", 1.0) for n, sid in enumerate(sids)])
    snapshot = subject.snapshot()
    leaves = snapshot.bucket_rows[snapshot.bucket_offsets[:-1]]
    assert [snapshot.sid_of_row(leaf) for leaf in leaves.tolist()] == sorted(set(sids))


@pytest.fixture
def trie_of_two():
    subject = cm.new_catalogue()
    subject.apply([upsert("a", sid=(0, 0, 0)), upsert("b", sid=(0, 1, 1))])
    snapshot = subject.snapshot()
    return snapshot.trie, snapshot.rows


@pytest.mark.parametrize(
    ("field", "level", "value", "words"),
    [
        ("level_offsets", 1, [0, 1], "level 1"),
        ("level_offsets", 2, [0, 2, 2], "level 2"),
        ("level_offsets", 0, [1, 1], "level 0"),
        ("level_codes", 1, [1, 0], "ascending"),
        ("level_codes", 0, [3], "codes in"),
        ("level_codes", 0, [-1], "codes in"),
        ("node_log_mass", 2, [0.0, np.nan], "finite"),
        ("node_scales", 1, [1.0], "one vector"),
        ("leaf_rows", None, [0], "one vector"),
        ("leaf_rows", None, [0, 10**6], "leaf rows"),
        ("bucket_offsets", None, [0, 0, 2], "buckets"),
        ("bucket_rows", None, [0, 2], "rows in"),
        ("bucket_rows", None, [1, 1], "at most once"),
    ],
)
def test_trie_that_a_search_would_get_lost_in_is_refused(trie_of_two, field, level, value, words):
    trie, store = trie_of_two
    validation.check_trie(trie, cm.SIZES, store)
    old = getattr(trie, field)
    if level is None:
        new = np.array(value, dtype=old.dtype)
    else:
        new = (*old[:level], np.array(value, dtype=old[level].dtype), *old[level + 1 :])
    broken = dataclasses.replace(trie, **{field: new})
    with pytest.raises(CatalogueError, match=words):
        validation.check_trie(broken, cm.SIZES, store)
    nothing = np.empty(0, dtype=np.int64)
    all_fresh = tuple(Splice(0, nothing, np.zeros(codes.size, dtype=np.int64)) for codes in trie.level_codes)
    alive = np.ones(2, dtype=np.bool_)
    validation.check_merged(trie, all_fresh, cm.SIZES, store, alive)
    with pytest.raises(CatalogueError, match="this is a defect"):
        validation.check_merged(broken, all_fresh, cm.SIZES, store, alive)
    with pytest.raises(CatalogueError, match="rows alive"):
        validation.check_merged(trie, all_fresh, cm.SIZES, store, ~alive)


def test_all_of_the_trie_is_checked_once_in_a_while_and_what_is_new_each_time(monkeypatch):
    monkeypatch.setattr(catalogue, "_CHECK_ALL_EVERY", 3)
    monkeypatch.setattr("sidestream.tokenizer.catalogue.live_rows._MAX_MERGED_SHARE", 2.0)
    subject, checked = cm.new_catalogue(), []
    subject.apply([upsert("first")])
    subject.snapshot()
    monkeypatch.setattr(catalogue, "check_trie", lambda *args: checked.append("all"))
    monkeypatch.setattr(catalogue, "check_merged", lambda *args: checked.append("new"))
    for number in range(6):
        subject.apply([upsert(f"i{number}")])
        subject.snapshot()
    assert checked == ["new", "new", "all", "new", "new", "all"]


def test_revisions_order_what_follows_one_catalogue_event():
    subject = cm.new_catalogue()
    subject.apply([dataclasses.replace(upsert("a", 5, sid=(1, 1, 1)), revision=2)])
    subject.apply([upsert("a", 5, sid=(0, 0, 0))])
    subject.apply([dataclasses.replace(upsert("a", 4, sid=(2, 1, 2)), revision=9)])
    assert subject.snapshot().stored_sid(item_key("a")).sid == (1, 1, 1)
    subject.apply([upsert("a", 6, sid=(2, 0, 0))])
    assert subject.snapshot().stored_sid(item_key("a")).sid == (2, 0, 0)


@pytest.mark.parametrize("beyond", [{"source_offset": 2**43}, {"source_offset": -2}, {"revision": 2**20}])
def test_an_order_that_numbers_cannot_hold_is_refused(beyond):
    with pytest.raises(CatalogueError, match="source offset up to"):
        cm.new_catalogue().apply([dataclasses.replace(upsert("a", 5), **beyond)])
