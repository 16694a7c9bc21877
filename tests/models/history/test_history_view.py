"""The view: the snapshot's SID, else the stored one of the same version, else the entry is dropped and counted."""

import json

import numpy as np
import pytest

from sidestream.models.errors import StateError
from sidestream.models.history import SIGNALS, HistoryView, describe, erase, fold, view, view_of_items
from sidestream.tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts, StoredSid
from sidestream.tokenizer.generations import VersionCodes, align
from sidestream.tokenizer.sid import item_key
from tests.models.history.state_model import Heard

V1, V2, V3 = "0123456789ab", "ba9876543210", "cccccccccccc"


def catalogue(version, items, removed=()):
    subject = Catalogue(version, (8, 8, 8), 2, lambda ids, codes, x: (x, np.ones(len(ids), np.float32)), x_dim=2)
    subject.apply([CatalogueUpdate(name, 0, ItemFacts(), sid, b"\x01\x02", 1.0) for name, sid in items.items()])
    subject.apply([CatalogueUpdate(name, 1) for name in removed])
    return subject.snapshot()


def state_of(*item_ids, lookup):
    records = [(n, Heard(f"e{n}", item_id, 10 * n, 1, 4, SIGNALS[n])) for n, item_id in enumerate(item_ids)]
    return fold(None, records, lookup).state


def test_no_state_is_an_empty_history():
    empty = view(None, catalogue(V1, {}), V1)
    assert (empty.rows.shape, empty.codes.shape, empty.watermark, empty.dropped) == ((0,), (0, 3), -1, 0)


def test_an_erased_user_is_an_empty_history_with_a_watermark():
    snapshot = catalogue(V1, {"a": (1, 1, 1)})
    state = erase(state_of("a", "a", lookup=snapshot.stored_sid), 10)
    seen = view(state, snapshot, V1)
    assert (seen.rows.size, seen.watermark, seen.dropped) == (0, 1, 0)


def test_snapshot_sid_goes_before_the_stored_one():
    old = catalogue(V1, {"a": (1, 1, 1), "b": (2, 2, 2)})
    state = state_of("a", "b", lookup=old.stored_sid)
    new = catalogue(V1, {"b": (3, 3, 3), "a": (4, 4, 4)})
    seen = view(state, new, V1)
    assert seen.codes.tolist() == [[4, 4, 4], [3, 3, 3]]
    assert new.item_ids(seen.rows) == ["a", "b"]
    assert seen.item_keys.tolist() == [item_key("a"), item_key("b")]
    assert seen.at.tolist() == [0, 10]
    assert seen.share.tolist() == pytest.approx([0.25, 0.25], abs=0.003)
    assert seen.signal.tolist() == [0, 1]
    assert (seen.watermark, seen.dropped) == (1, 0)
    assert (seen.rows.dtype, seen.codes.dtype) == (np.int32, np.int32)


def test_removed_item_keeps_its_row_and_unknown_item_its_stored_sid():
    old = catalogue(V1, {"a": (1, 1, 1), "b": (2, 2, 2)})
    state = state_of("a", "b", lookup=old.stored_sid)
    seen = view(state, catalogue(V1, {"a": (1, 1, 1)}, removed=["a"]), V1)
    assert seen.rows.tolist() == [0, -1]
    assert seen.codes.tolist() == [[1, 1, 1], [2, 2, 2]]


def test_entry_without_a_sid_of_the_version_is_dropped_and_counted():
    state = state_of("a", "b", lookup=catalogue(V2, {"a": (1, 1, 1)}).stored_sid)
    seen = view(state, catalogue(V1, {}), V1)
    assert (seen.rows.size, seen.dropped, seen.watermark) == (0, 2, 1)
    known = view(state, catalogue(V1, {"b": (5, 5, 5)}), V1)
    assert (known.codes.tolist(), known.dropped) == ([[5, 5, 5]], 1)


def test_a_snapshot_of_another_version_is_not_used():
    state = state_of("a", lookup=catalogue(V1, {"a": (1, 1, 1)}).stored_sid)
    seen = view(state, catalogue(V2, {"a": (7, 7, 7)}), V1)
    assert (seen.rows.tolist(), seen.codes.tolist()) == ([-1], [[1, 1, 1]])


@pytest.mark.parametrize("sid", [(8, 0, 0), (0, 0, 65_535), (1, 1)])
def test_stored_sid_that_does_not_fit_the_codebooks_is_dropped(sid):
    state = state_of("a", lookup=lambda _: StoredSid(V1, sid))
    assert view(state, catalogue(V1, {}), V1).dropped == 1


def test_unknown_share_is_nan():
    state = fold(None, [(0, Heard("e", "a", 1))], catalogue(V1, {}).stored_sid).state
    assert np.isnan(view(state, catalogue(V1, {"a": (1, 1, 1)}), V1).share).all()


def test_items_without_a_state_are_seen_as_plain_listens():
    snapshot = catalogue(V1, {"a": (1, 1, 1), "b": (2, 2, 2), "c": (3, 3, 3)}, removed=["c"])
    records = [(n, Heard(f"e{n}", item_id, n)) for n, item_id in enumerate("abca")]
    folded = view(fold(None, records, snapshot.stored_sid).state, snapshot, V1)
    seen = view_of_items("abca", snapshot)
    for name in HistoryView.__slots__:
        np.testing.assert_array_equal(getattr(seen, name), getattr(folded, name), strict=True)
    many = view_of_items([*"abc", "unknown"] * 100, snapshot)
    assert (many.rows.size, many.dropped, many.watermark) == (300, 100, 299)
    assert many.is_liked.all()
    nothing = view_of_items([], snapshot)
    assert (nothing.rows.shape, nothing.codes.shape, nothing.watermark) == ((0,), (0, 3), -1)


def test_full_time_range_survives():
    last = 2**48 - 1
    snapshot = catalogue(V1, {"a": (1, 1, 1)})
    state = fold(None, [(0, Heard("e", "a", last))], snapshot.stored_sid).state
    assert view(state, snapshot, V1).at.tolist() == [last]


def test_describe_is_json_with_the_latest_entry_first():
    snapshot = catalogue(V1, {"a": (1, 2, 3)})
    state = state_of("a", "b", lookup=snapshot.stored_sid)
    names = {item_key("a"): "a"}
    words = json.loads(json.dumps(describe(state, names.get)))
    assert [entry["item_id"] for entry in words["history"]] == [None, "a"]
    assert words["history"][1]["sid"] == "1-2-3"
    assert words["history"][1]["tokenizer_version"] == V1
    assert (words["size_bytes"], words["watermarks"], words["listens_folded"]) == (len(state), {"listens": 1}, 2)


def test_describe_nothing():
    words = describe(None)
    assert (words["size_bytes"], words["watermarks"], words["history"]) == (0, {"listens": None}, [])


def test_view_of_damaged_state_is_refused():
    with pytest.raises(StateError):
        view(b"\x07", catalogue(V1, {}), V1)


def test_alignment_gives_the_sid_of_an_entry_stored_under_an_older_version():
    state = state_of("gone", "kept", "new", lookup=catalogue(V1, {"gone": (1, 1, 1), "kept": (2, 2, 2)}).stored_sid)
    versions = [VersionCodes(version, (8, 8, 8), np.array(codes, np.int32)) for version, codes in
                ((V1, [[1, 1, 0], [2, 2, 2]]), (V2, [[7, 6, 5], [4, 4, 4]]))]  # fmt: skip
    made = align(*versions)
    now = catalogue(V2, {"kept": (3, 3, 3)})
    seen = view(state, now, V2, [made])
    # The snapshot's SID goes first; the map reads the rest by the longest prefix; without a stored SID nothing helps.
    assert (seen.codes.tolist(), seen.rows[0]) == ([[7, 6, 5], [3, 3, 3]], -1)
    assert (seen.aligned, seen.dropped) == (1, 1)
    assert (view(state, now, V2).codes.tolist(), view(state, now, V2).dropped) == ([[3, 3, 3]], 2)


@pytest.mark.parametrize("sizes", [((8, 8), (8, 8, 8)), ((8, 8, 8), (9, 9, 9))])
def test_alignment_between_other_codebooks_or_versions_is_not_used(sizes):
    state = state_of("a", lookup=catalogue(V1, {"a": (1, 1, 1)}).stored_sid)
    old, new = (
        VersionCodes(name, of, np.ones((1, len(of)), np.int32)) for name, of in zip((V1, V2), sizes, strict=True)
    )
    assert view(state, catalogue(V2, {}), V2, [align(old, new)]).dropped == 1
    assert view(state, catalogue("0" * 12, {}), "0" * 12, [align(old, new)]).dropped == 1


def test_after_two_rollouts_maps_are_not_chained_and_what_none_reads_is_dropped():
    sids = {
        "gone-early": {V1: (5, 5, 5)},  # a SID of V2 as well, of another item
        "gone-late": {V1: (2, 2, 2), V2: (5, 5, 5)},
        "kept": {V1: (3, 3, 3), V2: (6, 6, 6), V3: (7, 7, 7)},
    }

    def serving(version):
        return catalogue(version, {name: of[version] for name, of in sids.items() if version in of})

    def mapped(old, new, pairs):
        codes = (np.array(side, np.int32) for side in zip(*pairs, strict=True))
        return align(*(VersionCodes(version, (8, 8, 8), of) for version, of in zip((old, new), codes, strict=True)))

    records = [
        (n, Heard(f"e{n}", name, 10 * n, 1, 4, SIGNALS[0]))
        for n, name in enumerate(["gone-early", "gone-late", "kept", "gone-late"])
    ]
    under_v1 = fold(None, records[:3], serving(V1).stored_sid).state
    state = fold(under_v1, records[3:], serving(V2).stored_sid).state
    now = serving(V3)
    assert (view(state, now, V3).codes.tolist(), view(state, now, V3).dropped) == ([[7, 7, 7]], 3)
    # The pair's own map reads what was heard under the version before; older listens of items that are gone are left
    # out, though a map from V1 to V2 is there too, and those of items that are known need none.
    before, early = mapped(V2, V3, [((5, 5, 5), (4, 4, 4))]), mapped(V1, V2, [((5, 5, 5), (5, 5, 5))])
    seen = view(state, now, V3, [before, early])
    assert seen.codes.tolist() == [[7, 7, 7], [4, 4, 4]]
    assert (seen.aligned, seen.dropped) == (1, 2)
    # A map from V1 itself reads them.
    oldest = mapped(V1, V3, [((5, 5, 5), (2, 1, 0)), ((2, 2, 2), (4, 4, 4))])
    seen = view(state, now, V3, [before, oldest])
    assert seen.codes.tolist() == [[2, 1, 0], [4, 4, 4], [7, 7, 7], [4, 4, 4]]
    assert (seen.aligned, seen.dropped) == (3, 0)
