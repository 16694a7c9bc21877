import pytest

from sidestream.models.history import SIGNALS, fold
from sidestream.models.records.signals import POSITIVE_SIGNALS
from tests.models.recommend.recommending import (
    HOUR_MS,
    NOW_MS,
    FakeEngine,
    ids,
    listens,
    make,
    plain_shelf,
    start_of,
    state_of,
)


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


@pytest.mark.parametrize("signal", [signal for signal in SIGNALS if signal not in POSITIVE_SIGNALS])
def test_reserved_places_do_not_follow_what_was_not_liked(signal):
    shelf = new_shelf()
    shelf.put("liked", vector=[0, 0, 0, 0, 0, 0, 0, 100], weight=5.0)
    snapshot = shelf.snapshot()
    history = [*listens("liked", signal="like"), *listens(*["heard"] * 5, signal=signal)]
    events = [
        (offset, listen.model_copy(update={"event_id": f"e{offset}", "at": NOW_MS + offset}))
        for offset, (_, listen) in enumerate(history)
    ]
    state = fold(None, events, snapshot.stored_sid).state
    answer = make(FakeEngine(order=KNOWN), reserved_new=1).recommend(start_of(), state, snapshot, NOW_MS)
    assert [c.item_id for c in answer.candidates if c.reserved] == ["far"]


def test_a_history_without_a_positive_listen_is_no_taste():
    shelf = new_shelf()
    shelf.put("newest", vector=[0, 0, 0, 0, 0, 0, 0, 100], weight=1.0, published_at=NOW_MS - 1)
    snapshot = shelf.snapshot()
    recommender = make(FakeEngine(order=KNOWN), reserved_new=1)
    for signal, expected in (("listen", "near"), ("skip", "newest"), ("dislike", "newest")):
        state = state_of(snapshot, "heard", signal=signal)
        answer = recommender.recommend(start_of(num_candidates=10), state, snapshot, NOW_MS)
        assert [c.item_id for c in answer.candidates if c.reserved] == [expected]


def test_reserved_places_are_at_most_a_fifth():
    snapshot = new_shelf().snapshot()
    recommender = make(FakeEngine(order=KNOWN), reserved_new=20)
    state = state_of(snapshot, "heard")
    for wanted, reserved in ((4, 0), (5, 1), (9, 1), (10, 2)):
        answer = recommender.recommend(start_of(num_candidates=wanted), state, snapshot, NOW_MS)
        assert len(answer.candidates) == wanted
        assert sum(c.reserved == "new" for c in answer.candidates) == reserved


def test_a_new_item_that_is_ranked_takes_no_reserved_place():
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
