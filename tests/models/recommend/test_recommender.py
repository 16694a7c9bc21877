import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.engine import EngineResult
from models.errors import EngineError, StateError
from models.history.fold import fold
from models.recommend import Recommender, RecommendSettings
from models.records import CandidateSet, Listen, SessionStart
from tokenizer.catalogue import Catalogue, CatalogueUpdate, ItemFacts

VERSION = "0123456789ab"
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
DIM = 8


class Weights:
    """A vectorize whose weights a test sets by item id: 1 = never in training."""

    def __init__(self):
        self.by_id = {}

    def __call__(self, item_ids, codes, x):
        weights = np.array([self.by_id.get(item_id, 1.0) for item_id in item_ids], np.float32)
        return x[:, :DIM].astype(np.float32), weights


class Shelf:
    """A catalogue that tests fill in one line per item."""

    def __init__(self):
        self.weights = Weights()
        self.catalogue = Catalogue(VERSION, (4, 4), DIM, self.weights, x_dim=DIM)
        self.offset = 0

    def put(self, item_id, *, weight=2.0, vector=None, sid=None, **facts):
        self.weights.by_id[item_id] = weight
        vector = np.eye(DIM, dtype=np.int8)[self.offset % DIM] * 100 if vector is None else np.asarray(vector, np.int8)
        sid = ((self.offset // 4) % 4, self.offset % 4) if sid is None else sid
        self.catalogue.apply([CatalogueUpdate(item_id, self.offset, ItemFacts(**facts), sid, vector, 0.01)])
        self.offset += 1
        return self

    def snapshot(self, now_ms=NOW_MS):
        return self.catalogue.snapshot(now_ms=now_ms)


class FakeEngine:
    """Ranks the eligible, not excluded items by row, best first, and remembers what it was asked."""

    def __init__(self, order=None, limit=None, error=None):
        self.order, self.limit, self.error, self.requests = order, limit, error, []

    def recommend(self, request, snapshot):
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        allowed = request.eligibility.item.copy()
        allowed[request.excluded_rows] = False
        rows = np.flatnonzero(allowed).astype(np.int32)
        if self.order is not None:
            ids = snapshot.item_ids(rows)
            rows = np.array([rows[ids.index(i)] for i in self.order if i in ids], np.int32)
        rows = rows[: request.num_candidates if self.limit is None else self.limit]
        scores = np.arange(rows.size, 0, -1).astype(np.float32)
        return EngineResult(rows=rows, scores=scores, log_probs=-1 / (1 + scores), leaves=np.zeros_like(rows))


def listens(*item_ids):
    return [
        (offset, Listen(event_id=f"e{offset}", user_id="u", item_id=item_id, at=NOW_MS + offset))
        for offset, item_id in enumerate(item_ids)
    ]


def state_of(snapshot, *item_ids):
    return fold(None, listens(*item_ids), snapshot.stored_sid).state


def start_of(**fields):
    return SessionStart(**{"session_id": "s", "user_id": "u", "at": NOW_MS, "num_candidates": 5, **fields})


def make(engine=None, **fields):
    return Recommender(engine, VERSION, "model-1", RecommendSettings(**{"reserved_new": 0, **fields}))


def ids(candidate_set):
    return [candidate.item_id for candidate in candidate_set.candidates]


def plain_shelf(count=8):
    shelf = Shelf()
    for number in range(count):
        shelf.put(f"i{number}", weight=10.0 - number, creator=f"c{number // 2}")
    return shelf


def test_ranked_answer_carries_all_that_is_needed_to_judge_it():
    snapshot = plain_shelf().snapshot()
    engine = FakeEngine()
    answer = make(engine).recommend(start_of(page=3), state_of(snapshot, "i0", "i2"), snapshot, NOW_MS)
    assert ids(answer) == ["i1", "i3", "i4", "i5", "i6"]
    assert [c.rank for c in answer.candidates] == [0, 1, 2, 3, 4]
    assert [c.familiar for c in answer.candidates] == [True, True, False, False, False]
    assert all(c.log_prob is not None and c.reserved is None for c in answer.candidates)
    assert answer.candidates[0].sid == "0-1"
    assert answer.fallback is None
    assert (answer.model_version, answer.tokenizer_version) == ("model-1", VERSION)
    assert (answer.catalogue_version, answer.state_watermark, answer.page) == (snapshot.version, 1, 3)
    assert (answer.requested_at, answer.produced_at) == (NOW_MS, NOW_MS)
    assert {"state", "features", "engine", "resolve", "total"} <= answer.timings_ms.keys()
    assert engine.requests[0].features.history_rows.tolist() == [0, 2]
    assert CandidateSet.from_json(answer.to_json()) == answer


def test_no_history_is_answered_by_popularity_and_says_so():
    snapshot = plain_shelf().snapshot()
    engine = FakeEngine()
    answer = make(engine).recommend(start_of(), None, snapshot, NOW_MS)
    assert ids(answer) == ["i0", "i1", "i2", "i3", "i4"]
    assert answer.fallback.reason == "no_history"
    assert answer.state_watermark == -1
    assert all(c.log_prob is None for c in answer.candidates)
    assert not engine.requests


def test_empty_catalogue_gives_a_marked_empty_set():
    answer = make(FakeEngine()).recommend(start_of(), None, Shelf().snapshot(), NOW_MS)
    assert answer.candidates == ()
    assert answer.fallback.reason == "empty_catalogue"


@pytest.mark.parametrize("num_listed", [8, 5], ids=["short list", "whole store"])
def test_popularity_is_the_same_in_whatever_order_a_worker_read_the_catalogue(num_listed, monkeypatch):
    """Partitions are read side by side, and a restart reads a compacted topic: rows differ, answers must not."""
    monkeypatch.setattr("tokenizer.catalogue.standing.MAX_LISTED_ROWS", num_listed)
    names = [f"i{number}" for number in range(12)]
    lists = []
    for order in (names, names[::-1]):
        shelf = Shelf()
        for name in order:
            shelf.put(name, weight=1.0 + (int(name[1:]) < 3))
        answer = make().recommend(start_of(num_candidates=7), None, shelf.snapshot(), NOW_MS)
        lists.append(ids(answer))
    assert len(lists[0]) == 7
    assert set(lists[0][:3]) == {"i0", "i1", "i2"}
    assert lists[0] == lists[1]


def test_without_engine_everything_is_popularity():
    snapshot = plain_shelf().snapshot()
    answer = make(None).recommend(start_of(), state_of(snapshot, "i0"), snapshot, NOW_MS)
    assert ids(answer) == ["i1", "i2", "i3", "i4", "i5"]
    assert answer.fallback.reason == "no_model"


def test_engine_that_refuses_is_answered_by_popularity():
    snapshot = plain_shelf().snapshot()
    answer = make(FakeEngine(error=EngineError("no"))).recommend(start_of(), state_of(snapshot, "i0"), snapshot, NOW_MS)
    assert answer.fallback.reason == "engine_error"
    assert ids(answer) == ["i1", "i2", "i3", "i4", "i5"]


def test_engine_that_finds_nothing_is_marked():
    snapshot = plain_shelf().snapshot()
    answer = make(FakeEngine(limit=0)).recommend(start_of(), state_of(snapshot, "i0"), snapshot, NOW_MS)
    assert answer.fallback.reason == "no_candidates"
    assert len(answer.candidates) == 5


def test_too_few_are_filled_with_popular_ones_below_the_ranked():
    snapshot = plain_shelf().snapshot()
    answer = make(FakeEngine(order=["i7", "i6"])).recommend(start_of(), state_of(snapshot, "i0"), snapshot, NOW_MS)
    assert ids(answer) == ["i7", "i6", "i1", "i2", "i3"]
    assert [c.log_prob is None for c in answer.candidates] == [False, False, True, True, True]
    assert answer.fallback is None


def test_unreadable_state_is_an_error_of_its_own():
    with pytest.raises(StateError):
        make(FakeEngine()).recommend(start_of(), b"\xff\x00", plain_shelf().snapshot(), NOW_MS)


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
def test_discovery_modes_filter_whatever_answers(engine):
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


def test_familiar_without_a_history_is_an_empty_marked_set():
    answer = make(FakeEngine()).recommend(start_of(discovery="familiar"), None, plain_shelf().snapshot(), NOW_MS)
    assert answer.candidates == ()
    assert answer.fallback.reason == "no_history"


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


def test_a_row_outside_the_rules_never_leaves_whatever_the_engine_says():
    class Liar(FakeEngine):
        def recommend(self, request, snapshot):
            rows = np.arange(snapshot.num_rows, dtype=np.int32)
            scores = -rows.astype(np.float32)
            return EngineResult(rows=rows, scores=scores, log_probs=scores, leaves=rows)

    snapshot = plain_shelf().snapshot()
    answer = make(Liar()).recommend(start_of(exclude=("i1",)), state_of(snapshot, "i0"), snapshot, NOW_MS)
    assert ids(answer) == ["i2", "i3", "i4", "i5", "i6"]


def new_shelf():
    shelf = plain_shelf()
    taste = [100, 0, 0, 0, 0, 0, 0, 0]
    shelf.put("heard", vector=taste, weight=5.0)
    shelf.put("near", vector=taste, weight=1.0, published_at=NOW_MS - HOUR_MS)
    shelf.put("far", vector=[0, 0, 0, 0, 0, 0, 0, 100], weight=1.0, published_at=NOW_MS - HOUR_MS)
    shelf.put("old", vector=taste, weight=1.0, published_at=NOW_MS - 100 * HOUR_MS)
    shelf.put("known", vector=taste, weight=3.0, published_at=NOW_MS - HOUR_MS)
    shelf.put("tomorrow", vector=taste, weight=1.0, published_at=NOW_MS + 24 * HOUR_MS)
    return shelf


KNOWN = ["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7", "known", "old", "tomorrow"]


def test_reserved_places_go_to_the_new_item_nearest_to_the_history():
    snapshot = new_shelf().snapshot()
    recommender = make(FakeEngine(order=KNOWN), reserved_new=1)
    answer = recommender.recommend(start_of(num_candidates=10), state_of(snapshot, "heard"), snapshot, NOW_MS)
    assert ids(answer) == [*KNOWN[:9], "near"]
    assert [c.reserved for c in answer.candidates] == [None] * 9 + ["new"]


def test_reserved_places_are_at_most_a_fifth():
    snapshot = new_shelf().snapshot()
    recommender = make(FakeEngine(order=KNOWN), reserved_new=20)
    state = state_of(snapshot, "heard")
    for wanted, reserved in ((4, 0), (5, 1), (9, 1), (10, 2)):
        answer = recommender.recommend(start_of(num_candidates=wanted), state, snapshot, NOW_MS)
        assert len(answer.candidates) == wanted
        assert sum(c.reserved == "new" for c in answer.candidates) == reserved


def test_a_new_item_that_ranks_by_itself_takes_no_reserved_place():
    snapshot = new_shelf().snapshot()
    recommender = make(FakeEngine(order=["near", *KNOWN]), reserved_new=1)
    answer = recommender.recommend(start_of(num_candidates=5), state_of(snapshot, "heard"), snapshot, NOW_MS)
    assert ids(answer) == ["near", "i0", "i1", "i2", "far"]
    assert [c.reserved for c in answer.candidates] == [None, None, None, None, "new"]


def test_without_a_history_the_newest_take_the_reserved_places():
    shelf = plain_shelf()
    for hours in (5, 2, 9):
        shelf.put(f"new{hours}", weight=1.0, published_at=NOW_MS - hours * HOUR_MS)
    answer = make(FakeEngine(), reserved_new=1).recommend(start_of(), None, shelf.snapshot(), NOW_MS)
    assert [c.item_id for c in answer.candidates if c.reserved] == ["new2"]


def test_open_places_without_new_items_go_to_ranked_ones():
    snapshot = plain_shelf().snapshot()
    recommender = make(FakeEngine(), reserved_new=2, new_within_hours=1.0)
    answer = recommender.recommend(start_of(num_candidates=7), state_of(snapshot, "i0"), snapshot, NOW_MS)
    assert ids(answer) == ["i1", "i2", "i3", "i4", "i5", "i6", "i7"]
    assert not any(c.reserved for c in answer.candidates)


@st.composite
def sessions(draw):
    shelf = Shelf()
    count = draw(st.integers(0, 24))
    for number in range(count):
        shelf.put(
            f"i{number}",
            weight=draw(st.sampled_from([1.0, 1.5, 4.0])),
            vector=draw(st.lists(st.integers(-127, 127), min_size=DIM, max_size=DIM)),
            sid=(draw(st.integers(0, 3)), draw(st.integers(0, 3))),
            creator=draw(st.sampled_from([None, "a", "b"])),
            show=draw(st.sampled_from([None, "p"])),
            market=draw(st.sampled_from([(), ("de",), ("us",)])),
            published_at=draw(st.sampled_from([None, NOW_MS - HOUR_MS, NOW_MS - 1_000 * HOUR_MS])),
            expires_at=draw(st.sampled_from([None, NOW_MS, NOW_MS + 1])),
        )
    any_id = st.integers(0, 30).map("i{}".format)
    start = start_of(
        num_candidates=draw(st.integers(1, 30)),
        discovery=draw(st.sampled_from(["any", "familiar", "unfamiliar"])),
        market=draw(st.sampled_from([None, "de"])),
        exclude=tuple(draw(st.lists(any_id, max_size=5))),
    )
    heard = draw(st.lists(any_id, max_size=8))
    limit = draw(st.one_of(st.none(), st.integers(0, 30)))
    return shelf.snapshot(NOW_MS - 1), start, heard, limit


@settings(max_examples=60, deadline=None)
@given(session=sessions(), reserved=st.integers(0, 4))
def test_every_answer_keeps_the_promises(session, reserved):
    snapshot, start, heard, limit = session
    state = state_of(snapshot, *heard) if heard else None
    recommender = make(FakeEngine(limit=limit), reserved_new=reserved)
    answer = recommender.recommend(start, state, snapshot, NOW_MS)
    names = ids(answer)
    assert len(names) == len(set(names)) <= start.num_candidates
    assert not set(names) & set(start.exclude)
    scores = [c.score for c in answer.candidates]
    assert scores == sorted(scores, reverse=True)
    assert sum(c.reserved is not None for c in answer.candidates) <= min(reserved, start.num_candidates // 5)
    eligible = snapshot.eligibility(market=start.market, now_ms=NOW_MS).item
    creators = {snapshot.facts(int(r)).creator for r in range(snapshot.num_rows) if snapshot.item_id(r) in heard} - {
        None
    }
    shows = {snapshot.facts(int(r)).show for r in range(snapshot.num_rows) if snapshot.item_id(r) in heard} - {None}
    rows = {snapshot.item_id(row): row for row in range(snapshot.num_rows)}
    possible = 0
    for name, row in rows.items():
        facts = snapshot.facts(row)
        familiar = name in heard or facts.creator in creators or facts.show in shows
        fits = {"any": name not in heard, "familiar": familiar, "unfamiliar": not familiar}[start.discovery]
        allowed = bool(eligible[row]) and fits and name not in start.exclude
        possible += allowed
        assert allowed or name not in names
        if name in names:
            assert answer.candidates[names.index(name)].familiar == familiar
    assert len(names) == min(possible, start.num_candidates)
    again = recommender.recommend(start, state, snapshot, NOW_MS)
    assert again.model_copy(update={"timings_ms": {}}) == answer.model_copy(update={"timings_ms": {}})
