import numpy as np
import pytest

from sidestream.models.engine import EngineResult
from tests.models.recommend.recommending import NOW_MS, FakeEngine, Shelf, ids, make, plain_shelf, start_of, state_of


def test_excluded_items_never_come_back_and_unknown_ids_are_ignored():
    snapshot = plain_shelf().snapshot()
    start = start_of(exclude=("i1", "i3", "nowhere"), num_candidates=20)
    for state in (state_of(snapshot, "i0"), None):
        answer = make(FakeEngine(limit=2)).recommend(start, state, snapshot, NOW_MS)
        assert not {"i1", "i3"} & set(ids(answer))


def test_seen_items_stay_out_unless_the_setting_lets_them():
    snapshot = plain_shelf().snapshot()
    state = state_of(snapshot, "i0", "i1")
    assert not {"i0", "i1"} & set(ids(make(FakeEngine()).recommend(start_of(), state, snapshot, NOW_MS)))
    with_seen = make(FakeEngine(), exclude_seen=False).recommend(start_of(), state, snapshot, NOW_MS)
    assert {"i0", "i1"} <= set(ids(with_seen))


@pytest.mark.parametrize("engine", [FakeEngine(), FakeEngine(limit=1), FakeEngine(limit=0), None])
def test_discovery_modes_filter_with_and_without_the_engine(engine):
    snapshot = plain_shelf().put("s0", show="p").put("s1", show="p").snapshot()
    state = state_of(snapshot, "i0", "s0")
    familiar = make(engine).recommend(start_of(discovery="familiar", num_candidates=20), state, snapshot, NOW_MS)
    assert sorted(ids(familiar)) == ["i0", "i1", "s0", "s1"]
    assert all(c.familiar for c in familiar.candidates)
    unfamiliar = make(engine).recommend(start_of(discovery="unfamiliar", num_candidates=20), state, snapshot, NOW_MS)
    assert sorted(ids(unfamiliar)) == ["i2", "i3", "i4", "i5", "i6", "i7"]
    assert not any(c.familiar for c in unfamiliar.candidates)


def test_items_without_creator_or_show_are_not_familiar_to_each_other():
    snapshot = Shelf().put("a").put("b").snapshot()
    answer = make(FakeEngine()).recommend(start_of(), state_of(snapshot, "a"), snapshot, NOW_MS)
    assert [(c.item_id, c.familiar) for c in answer.candidates] == [("b", False)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"kinds": ("live",)}, {"now"}),
        ({"live_now": True}, {"now"}),
        ({"live_now": False}, {"clean", "words"}),
        ({"allow_explicit": False}, {"clean", "now"}),
        ({"languages": ("sv",)}, {"clean", "now"}),
        ({"languages": ("en",), "allow_explicit": False}, {"now"}),
    ],
)
def test_rules_of_the_session_hold_for_ranked_and_popular(rule, expected):
    shelf = Shelf().put("heard", language="fi", kind="audiobook").put("clean", language="sv")
    shelf.put("words", language="en-GB", explicit=True).put("now", kind="live").put("over", kind="live", expires_at=1)
    snapshot = shelf.snapshot()
    for engine in (None, FakeEngine()):
        state = state_of(snapshot, "heard")
        start = start_of(**rule, exclude=("heard",))
        assert set(ids(make(engine).recommend(start, state, snapshot, NOW_MS))) == expected


def test_market_and_expiry_hold_for_ranked_and_popular():
    shelf = Shelf().put("de", market=("de",)).put("us", market=("us",)).put("all")
    shelf.put("gone", expires_at=NOW_MS + 10).put("heard")
    snapshot = shelf.snapshot()
    for engine in (FakeEngine(), None):
        answer = make(engine).recommend(start_of(market="de"), state_of(snapshot, "heard"), snapshot, NOW_MS + 10)
        assert sorted(ids(answer)) == ["all", "de"]


def test_a_row_outside_the_rules_is_dropped_even_if_the_engine_returns_it():
    class Liar(FakeEngine):
        def recommend(self, request, snapshot):
            rows = np.arange(snapshot.num_rows, dtype=np.int32)
            scores = -rows.astype(np.float32)
            return EngineResult(rows=rows, scores=scores, log_probs=scores, leaves=rows)

    snapshot = plain_shelf().snapshot()
    answer = make(Liar()).recommend(start_of(exclude=("i1",)), state_of(snapshot, "i0"), snapshot, NOW_MS)
    assert ids(answer) == ["i2", "i3", "i4", "i5", "i6"]
