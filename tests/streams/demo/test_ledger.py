import pytest

from sidestream.models.data import CatalogEvent, LogRow
from sidestream.models.records import CatalogItem
from sidestream.streams.demo.ledger import Ledger
from tests.streams.demo.published import T, answer_of, erasure, heard, removal, start_of, upsert


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(clock):
    found = Ledger(seconds=clock)
    found.sending([item_row("a"), item_row("b")])
    found.published([upsert("a", 0), upsert("b", 1)])
    return found


def row(topic, key, value, record, at=T + 1):
    return LogRow(at=at, rank=0, line=1, end_byte=0, topic=topic, key=key, value=value, record=record)


def item_row(item_id):
    item = CatalogItem(item_id=item_id, kind="track", at=T + 1)
    return row("catalog", item_id, item.to_json(), CatalogEvent(item_id, T + 1, item))


def removal_row(item_id):
    return row("catalog", item_id, None, CatalogEvent(item_id, T + 2, None))


def ask(ledger, session_id="s", **fields):
    start = start_of(session_id, **fields)
    ledger.sending([row("sessions", "u", start.to_json(), start)])
    return start


def test_a_good_answer_counts_and_is_timed(ledger, clock):
    ask(ledger)
    clock.now_s = 0.25
    ledger.received(answer_of("a", "b", offsets=(2,)))
    assert ledger.faults == []
    assert (ledger.unanswered, ledger.unjudged) == (0, 0)
    figures = ledger.figures()
    assert (figures["answered_share"], figures["p50_ms"], figures["items"]) == (1.0, 250.0, 2)


def test_an_item_removed_between_the_answer_and_its_judgement_is_no_fault(ledger):
    ask(ledger)
    ledger.sending([removal_row("a")])
    ledger.published([removal("a", 2)])
    ledger.received(answer_of("a", offsets=(2,)))
    assert ledger.faults == []


def test_a_removal_that_the_snapshot_holds_is_a_fault_with_its_evidence(ledger):
    ledger.published([removal("a", 2)])
    ask(ledger)
    ledger.received(answer_of("a", offsets=(3,)))
    (fault,) = ledger.faults
    assert "removed at offset 2" in str(fault)
    (evidence,) = ledger.evidence
    assert evidence["candidate_set"]["catalogue_offsets"] == [3]
    assert [state["offset"] for state in evidence["items"]["a"]] == [0, 2]
    assert ledger.figures()["invalid_candidates"] == 1


def test_an_answer_waits_until_a_slow_reader_has_seen_its_snapshot(ledger):
    ask(ledger)
    ledger.received(answer_of("new", offsets=(4,)))
    assert (ledger.unanswered, ledger.unjudged, ledger.faults) == (0, 1, [])
    assert ledger.figures()["unjudged_sets"] == 1
    ledger.published([upsert("c", 2)])
    assert ledger.unjudged == 1
    ledger.published([upsert("new", 3)])
    assert (ledger.unjudged, ledger.faults) == (0, [])


def test_what_is_judged_late_is_judged_by_its_own_snapshot(ledger):
    ask(ledger)
    ledger.received(answer_of("a", offsets=(3,)))
    ledger.published([removal("a", 2), upsert("a", 3)])
    assert len(ledger.faults) == 1


def test_an_item_of_the_history_is_a_fault_unless_familiar_ones_are_asked_for(ledger):
    ledger.listened([heard("a", 5)])
    start = ask(ledger)
    ledger.received(answer_of("a", start=start, offsets=(2,), state_watermark=5))
    assert [fault.why for fault in ledger.faults] == ["was in the listener's history"]
    ledger.listened([heard("b", 8)])
    for session, asked, watermark in (("earlier", {}, 5), ("familiar", {"discovery": "familiar"}, 8)):
        start = ask(ledger, session, **asked)
        ledger.received(answer_of("b", start=start, offsets=(2,), state_watermark=watermark, familiar=bool(asked)))
    ledger.erased([erasure(T + 8)])
    start = ask(ledger, "erased")
    ledger.received(answer_of("a", "b", start=start, offsets=(2,), state_watermark=8))
    assert len(ledger.faults) == 1


def test_an_item_of_the_history_is_no_fault_where_the_worker_keeps_those(clock):
    ledger = Ledger(seconds=clock, exclude_seen=False)
    ledger.published([upsert("a", 0)])
    ledger.listened([heard("a", 0)])
    start = ask(ledger)
    ledger.received(answer_of("a", start=start, offsets=(1,), state_watermark=0))
    assert (ledger.unjudged, ledger.faults) == (0, [])


def test_an_answer_from_the_state_of_another_listener_is_a_fault(ledger):
    """Also of one who has listened after all that this listener has, or where this one has not listened at all."""
    ledger.listened([heard("a", 4, user="other"), heard("b", 5), heard("a", 6, user="other")])
    for number, (watermark, count) in enumerate(((5, 0), (-1, 0), (4, 1), (6, 2))):
        start = ask(ledger, f"s{number}")
        ledger.received(answer_of("a", start=start, offsets=(2,), state_watermark=watermark))
        assert (ledger.unjudged, len(ledger.faults)) == (0, count)
    assert "no listen of u" in str(ledger.faults[0])


def test_an_answer_that_names_another_listener_is_judged_by_who_asked(ledger):
    ledger.listened([heard("a", 5, user="other")])
    start = ask(ledger)
    ledger.received(answer_of("b", start=start, offsets=(2,), state_watermark=5, user_id="other"))
    assert [fault.why.split()[0] for fault in ledger.faults] == ["has", "was"]


def test_an_answer_is_not_judged_at_a_time_after_all_session_starts(ledger):
    start = ask(ledger)
    ask(ledger, "later", at=T + 200)
    ledger.received(answer_of("a", start=start, offsets=(2,), judged_at=T + 201, produced_at=0))
    assert "was judged at" in str(ledger.faults[0])


def test_an_answer_waits_until_a_slow_reader_has_seen_its_history(ledger):
    start = ask(ledger)
    ledger.received(answer_of("a", start=start, offsets=(2,), state_watermark=5))
    assert (ledger.unjudged, ledger.faults) == (1, [])
    ledger.listened([heard("b", 4)])
    assert ledger.unjudged == 1
    ledger.listened([heard("a", 5)])
    assert (ledger.unjudged, len(ledger.faults)) == (0, 1)


def test_repeats_of_a_set_count_once(ledger):
    ask(ledger)
    for _ in range(3):
        ledger.received(answer_of("nobody", offsets=(2,)))
    assert (ledger.num_answered, ledger.num_sessions, len(ledger.faults)) == (1, 1, 1)


def test_answers_to_others_who_talk_with_the_demo_are_not_ours_to_judge(ledger):
    ledger.received(answer_of("nobody", start=start_of("theirs"), offsets=(2,)))
    assert (ledger.num_answered, ledger.faults) == (0, [])


def test_how_late_a_removed_item_comes_is_counted_not_judged(ledger, clock):
    ledger.sending([removal_row("a")])
    ledger.published([removal("a", 2)])
    for session, at_s in (("in time", 0.9), ("late", 3.5)):
        clock.now_s = at_s
        start = ask(ledger, session)
        ledger.received(answer_of("a", start=start, offsets=(2,)))
    figures = ledger.figures()
    assert (figures["late_removals"], figures["late_removal_s"], figures["invalid_candidates"]) == (1, 3.5, 0)


def test_an_item_that_stays_for_good_is_a_fault(ledger, clock):
    ledger.sending([removal_row("a")])
    clock.now_s = ledger.stuck_s + 1
    ask(ledger)
    ledger.received(answer_of("a", offsets=(2,)))
    assert "stands still" in ledger.faults[0].why


def test_an_item_that_came_back_is_not_late(ledger, clock):
    ledger.sending([removal_row("a"), item_row("a")])
    clock.now_s = 50.0
    ask(ledger)
    ledger.received(answer_of("a", offsets=(2,)))
    assert ledger.figures()["late_removals"] == 0


def test_what_was_not_answered_shows(ledger):
    ask(ledger)
    assert ledger.unanswered == 1
    figures = ledger.figures()
    assert (figures["answered_share"], figures["p50_ms"]) == (0.0, None)
    assert ledger.open_sessions()[0].startswith("session s of u (set ")


def test_the_best_answer_is_by_the_model_and_has_most_kinds_in_it(ledger):
    for number, (fields, best) in enumerate(
        (
            ({"fallback": {"reason": "overload"}}, "s0"),
            ({}, "s1"),
            ({"fallback": {"reason": "overload"}}, "s1"),
            ({"familiar": True}, "s3"),
        )
    ):
        start = ask(ledger, f"s{number}", at=T + 100 + number)
        ledger.received(answer_of("a", start=start, offsets=(2,), **fields))
        assert ledger.best.start.session_id == best


def test_the_past_is_forgotten_between_passes_but_not_while_answers_are_open(ledger):
    ledger.published([upsert("a", 2)])
    start = ask(ledger)
    ledger.end_pass()
    ledger.received(answer_of("a", start=start, offsets=(1,)))
    assert ledger.faults == []
    ledger.end_pass()
    later = ask(ledger, "later")
    ledger.received(answer_of("a", start=later, offsets=(1,)))
    assert len(ledger.faults) == 1
