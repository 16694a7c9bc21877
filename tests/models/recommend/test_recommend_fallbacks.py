import pytest

from sidestream.models.errors import EngineError
from tests.models.recommend.recommending import NOW_MS, FakeEngine, Shelf, ids, make, plain_shelf, start_of, state_of


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
def test_popularity_does_not_depend_on_the_order_of_the_catalogue(num_listed, monkeypatch):
    """Partitions are read side by side, and a restart reads a compacted topic: rows differ, answers must not."""
    monkeypatch.setattr("sidestream.tokenizer.catalogue.live_rows.MAX_LISTED_ROWS", num_listed)
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


def test_familiar_without_a_history_is_an_empty_marked_set():
    answer = make(FakeEngine()).recommend(start_of(discovery="familiar"), None, plain_shelf().snapshot(), NOW_MS)
    assert answer.candidates == ()
    assert answer.fallback.reason == "no_history"
