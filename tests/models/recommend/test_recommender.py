import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.errors import StateError
from sidestream.models.history import view_of_items
from sidestream.models.records import CandidateSet
from tests.models.recommend.recommending import (
    DIM,
    HOUR_MS,
    NOW_MS,
    VERSION,
    FakeEngine,
    Shelf,
    ids,
    make,
    plain_shelf,
    start_of,
    state_of,
)


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
    assert (answer.requested_at, answer.produced_at, answer.judged_at) == (NOW_MS, NOW_MS, NOW_MS)
    assert answer.catalogue_offsets is None, "this snapshot came from no topic"
    assert {"state", "features", "engine", "resolve", "total"} <= answer.timings_ms.keys()
    assert engine.requests[0].features.history_rows.tolist() == [0, 2]
    assert CandidateSet.from_json(answer.to_json()) == answer


def test_an_unreadable_state_raises_a_state_error():
    with pytest.raises(StateError):
        make(FakeEngine()).recommend(start_of(), b"\xff\x00", plain_shelf().snapshot(), NOW_MS)


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
    unstored = recommender.recommend_for(start, view_of_items(heard, snapshot), snapshot, NOW_MS)
    assert (unstored.candidates, unstored.fallback) == (answer.candidates, answer.fallback)
    again = recommender.recommend(start, state, snapshot, NOW_MS)
    assert again.model_copy(update={"timings_ms": {}}) == answer.model_copy(update={"timings_ms": {}})
