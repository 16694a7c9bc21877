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


def test_a_variety_of_a_language_passes(history):
    history.take(upsert("british", 5, language="en-GB"))
    assert whys(history, start_of(languages=("EN",)), answer_of("british")) == []


def test_what_is_removed_after_the_snapshot_was_taken_is_no_fault(history):
    history.take(removal("a", 10))
    assert whys(history, start_of(), answer_of("a", offsets=(10,))) == []
    assert "removed at offset 10" in whys(history, start_of(), answer_of("a", offsets=(11,)))[0]


def test_what_expires_after_it_was_judged_is_no_fault(history):
    assert whys(history, start_of(), answer_of("ended", judged_at=T + 49)) == []
    assert len(whys(history, start_of(), answer_of("ended", judged_at=T + 50))) == 1


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
