import pytest

from sidestream.models.data import CatalogEvent, LogRow
from sidestream.models.records import Candidate, CandidateSet, CatalogItem, SessionStart
from sidestream.models.records.candidates import candidate_set_id
from sidestream.streams.demo.ledger import Ledger

AT = 1_700_000_000_000


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
    found.sending([item_row("a"), item_row("ended", expires_at=AT + 50), item_row("abroad", market=("se",))])
    return found


def item_row(item_id, **fields):
    item = CatalogItem(item_id=item_id, kind="track", at=AT + 1, **fields)
    return LogRow(
        at=AT + 1,
        rank=0,
        line=1,
        end_byte=0,
        topic="catalog",
        key=item_id,
        value=item.to_json(),
        record=CatalogEvent(item_id, 1, item),
    )


def removal_row(item_id):
    return LogRow(
        at=AT + 2,
        rank=0,
        line=2,
        end_byte=0,
        topic="catalog",
        key=item_id,
        value=None,
        record=CatalogEvent(item_id, 2, None),
    )


def ask(ledger, **fields):
    start = SessionStart(session_id="s", user_id="u", at=AT + 100, **{"num_candidates": 3, **fields})
    ledger.sending(
        [
            LogRow(
                at=AT + 100, rank=2, line=1, end_byte=0, topic="sessions", key="u", value=start.to_json(), record=start
            )
        ]
    )


def answer(*item_ids, familiar=False, session_id="s"):
    return CandidateSet(
        candidate_set_id=candidate_set_id("u", session_id, 0),
        session_id=session_id,
        user_id="u",
        requested_at=AT + 100,
        produced_at=AT + 100,
        model_version="m",
        tokenizer_version="t",
        catalogue_version="c",
        state_watermark=-1,
        discovery="any",
        candidates=tuple(
            Candidate(item_id=name, sid="1-2", rank=rank, score=0.0, familiar=familiar)
            for rank, name in enumerate(item_ids)
        ),
    )


def test_a_good_answer_counts_and_is_timed(ledger, clock):
    ask(ledger)
    clock.now_s = 0.25
    ledger.received(answer("a", "abroad"))
    assert ledger.invalid == []
    assert ledger.unanswered == 0
    figures = ledger.figures()
    assert (figures["answered_share"], figures["p50_ms"], figures["items"]) == (1.0, 250.0, 3)


@pytest.mark.parametrize(
    ("asked", "given", "fault"),
    [
        ({}, answer("nobody"), "no item"),
        ({}, answer("ended"), "expired"),
        ({}, answer("a", "a"), "twice"),
        ({"num_candidates": 1}, answer("a", "abroad"), "asked for 1"),
        ({"exclude": ("a",)}, answer("a"), "excluded"),
        ({"market": "de"}, answer("abroad"), "may not be played in de"),
        ({"discovery": "familiar"}, answer("a"), "discovery=familiar"),
        ({"discovery": "unfamiliar"}, answer("a", familiar=True), "discovery=unfamiliar"),
        ({}, answer("a", session_id="other"), "nobody asked"),
    ],
)
def test_each_fault_is_seen(ledger, asked, given, fault):
    ask(ledger, **asked)
    ledger.received(given)
    assert len(ledger.invalid) == 1
    assert fault in ledger.invalid[0]


def test_a_removed_item_may_linger_for_a_second(ledger, clock):
    ledger.sending([removal_row("a")])
    clock.now_s = 0.9
    ask(ledger)
    ledger.received(answer("a"))
    assert ledger.invalid == []


def test_a_removed_item_is_a_fault_afterwards(ledger, clock):
    ledger.sending([removal_row("a")])
    clock.now_s = 1.1
    ask(ledger)
    ledger.received(answer("a"))
    assert "removed" in ledger.invalid[0]


def test_what_was_not_answered_shows(ledger):
    ask(ledger)
    assert ledger.unanswered == 1
    assert ledger.figures()["answered_share"] == 0.0
