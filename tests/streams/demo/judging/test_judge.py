import pytest

from sidestream.streams.demo.judging import CatalogueHistory, faults_of
from tests.streams.demo.published import T, answer_of, removal, start_of, upsert


@pytest.fixture
def history():
    found = CatalogueHistory()
    found.take(upsert("a", 0))
    found.take(upsert("ended", 1, expires_at=T + 50))
    found.take(upsert("abroad", 2, market=("se",), language="sv", explicit=True, kind="episode"))
    found.take(upsert("two", 3, sid=(1, 2), more=((3, 3),)))
    found.take(upsert("foreign", 4, version="ffeeddccbbaa"))
    return found


def whys(history, start, answer):
    return [fault.why for fault in faults_of(start, answer, history)]


def test_a_good_set_has_no_fault(history):
    assert whys(history, start_of(), answer_of("a", "abroad", "two")) == []
    assert whys(history, start_of(), answer_of("two", sid="3-3")) == []


@pytest.mark.parametrize(
    ("asked", "given", "fault"),
    [
        ({}, {"items": ["nobody"]}, "not published"),
        ({}, {"items": ["ended"]}, f"expired at {T + 50}, judged at {T + 100}"),
        ({}, {"items": ["foreign"]}, "no SID under"),
        ({}, {"items": ["a"], "sid": "3-3"}, "listed with SID 3-3, but has 1-2"),
        ({}, {"items": ["a", "a"]}, "listed 2 times"),
        ({"num_candidates": 1}, {"items": ["a", "two"]}, "asked for 1"),
        ({"exclude": ("a",)}, {"items": ["a"]}, "excluded"),
        ({}, {"items": ["a", "two"], "scores": [0.5, 0.75]}, "score 0.75 at rank 1, above 0.5 at rank 0"),
        ({}, {"items": []}, "was eligible in snapshot"),
        ({}, {"items": [], "fallback": {"reason": "no_candidates"}}, "was eligible in snapshot"),
        ({}, {"items": ["a"], "fallback": {"reason": "no_candidates"}}, "the model found no candidates, but"),
        ({"market": "de"}, {"items": ["abroad"]}, "not be played in de"),
        ({"allow_explicit": False}, {"items": ["abroad"]}, "explicit"),
        ({"languages": ("en", "de")}, {"items": ["abroad"]}, "in sv, asked for en, de"),
        ({"kinds": ("track",)}, {"items": ["abroad"]}, "kind episode"),
        ({"live_now": True}, {"items": ["a"]}, "live_now=true"),
        ({"discovery": "familiar"}, {"items": ["a"]}, "discovery=familiar"),
        ({"discovery": "unfamiliar"}, {"items": ["a"], "familiar": True}, "discovery=unfamiliar"),
    ],
)
def test_each_fault_is_seen_once_and_names_set_session_and_item(history, asked, given, fault):
    start = start_of(**asked)
    items = given.pop("items")
    (found,) = faults_of(start, answer_of(*items, start=start, **given), history)
    assert fault in found.why
    assert "session s of u" in str(found)
    assert found.item_id is None or f"item {found.item_id}" in str(found)


@pytest.mark.parametrize("reason", ["no_candidates", "empty_catalogue", "no_history", None])
def test_an_empty_set_is_no_fault_where_nothing_was_eligible(history, reason):
    fallback = None if reason is None else {"reason": reason}
    for asked in ({"kinds": ("audiobook",)}, {"live_now": True}, {"exclude": ("a", "abroad", "two")}):
        start = start_of(**asked)
        assert whys(history, start, answer_of(start=start, fallback=fallback)) == []
    assert whys(history, start_of(), answer_of(offsets=(0,), fallback=fallback)) == []
    history.take(removal("a", 10))
    start = start_of(exclude=("two",), market="de")
    assert whys(history, start, answer_of(start=start, offsets=(11,), fallback=fallback)) == []
    assert len(whys(history, start, answer_of(start=start, offsets=(10,), fallback=fallback))) == 1


def test_an_empty_set_is_not_judged_where_it_cannot_be_known(history):
    familiar = start_of(discovery="familiar")
    assert whys(history, familiar, answer_of(start=familiar)) == []
    assert whys(history, start_of(), answer_of(offsets=None)) == []


def test_what_was_heard_is_no_candidate_and_not_missed(history):
    (fault,) = faults_of(start_of(), answer_of("a", "two"), history, {"a"})
    assert (fault.item_id, fault.why) == ("a", "was in the listener's history")
    assert faults_of(start_of(), answer_of(), history, {"a", "abroad", "two"}) == []


def test_scores_are_judged_by_rank(history):
    answer = answer_of("a", "two", "abroad", scores=[3.0, 2.0, 2.0])
    assert whys(history, start_of(), answer) == []
    backwards = answer.model_copy(update={"candidates": answer.candidates[::-1]})
    assert whys(history, start_of(), backwards) == []


@pytest.mark.parametrize(
    "change", [{"session_id": "t"}, {"user_id": "v"}, {"page": 1}, {"requested_at": T}, {"discovery": "familiar"}]
)
def test_a_set_that_repeats_another_session_start_is_a_fault(history, change):
    answer = answer_of("a").model_copy(update=change)
    ((name, value),) = change.items()
    (fault,) = faults_of(start_of(), answer, history)
    assert fault.why.startswith(f"has {name}={value}, asked for ")


@pytest.mark.parametrize(
    ("judged_at", "produced_at", "is_fault"),
    [(99, 0, True), (100, 0, False), (150, 0, False), (151, 0, True), (151, 151, False), (152, 151, True)],
)
def test_a_time_that_the_clock_cannot_have_shown_is_a_fault(history, judged_at, produced_at, is_fault):
    answer = answer_of("a", judged_at=T + judged_at, produced_at=T + produced_at)
    whys = [fault.why for fault in faults_of(start_of(), answer, history, latest_at=T + 150)]
    assert [why.startswith(f"was judged at {T + judged_at}, expected between") for why in whys] == [True] * is_fault


def test_a_state_of_another_listener_is_a_fault(history):
    (fault,) = faults_of(start_of(), answer_of("a", state_watermark=7), history, is_own_state=False)
    assert fault.why == "was made from a state at offset 7, which is no listen of u"


def test_a_variety_of_a_language_passes(history):
    history.take(upsert("british", 5, language="en-GB"))
    assert whys(history, start_of(languages=("EN",)), answer_of("british")) == []


def test_what_is_removed_after_the_snapshot_was_taken_is_no_fault(history):
    history.take(removal("a", 10))
    assert whys(history, start_of(), answer_of("a", offsets=(10,))) == []
    assert "removed at offset 10" in whys(history, start_of(), answer_of("a", offsets=(11,)))[0]


def test_what_expires_after_it_was_judged_is_no_fault(history):
    start = start_of(at=T + 40)
    assert whys(history, start, answer_of("ended", start=start, judged_at=T + 49)) == []
    assert len(whys(history, start, answer_of("ended", start=start, judged_at=T + 50))) == 1


def test_facts_are_those_of_the_snapshot_not_of_a_later_one(history):
    history.take(upsert("a", 10, market=("se",), expires_at=T + 1, sid=(3, 3)))
    start = start_of(market="de")
    assert whys(history, start, answer_of("a", start=start, offsets=(10,))) == []
    assert len(whys(history, start, answer_of("a", start=start, offsets=(11,)))) == 1


def test_a_set_of_an_older_snapshot_must_not_hold_what_came_later(history):
    assert "not published" in whys(history, start_of(), answer_of("two", offsets=(3,)))[0]


def test_a_set_of_an_older_worker_names_no_snapshot_and_any_state_may_allow_its_items(history):
    history.take(removal("a", 10))
    old = answer_of("a", "ended", "nobody", offsets=None, judged_at=None, produced_at=T + 5_000)
    why_ended, why_nobody = whys(history, start_of(), old)
    assert f"expired at {T + 50}, judged at {T + 100}" in why_ended
    assert "not published in any state" in why_nobody
    earlier = start_of(at=T + 49)
    assert whys(history, earlier, answer_of("ended", start=earlier, offsets=None, judged_at=None)) == []
