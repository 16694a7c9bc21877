"""Valid times of records, and the guess of the unit of invalid ones."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sidestream.models.data.rows import RowError, decode_catalog, decode_heldout, decode_listen, decode_session
from sidestream.models.records import CatalogItem, ItemSids, Listen, LiveSegment, SessionStart, UserErasure
from sidestream.models.records.times import (
    EARLIEST_EVENT_AT,
    EARLIEST_FACT_AT,
    LATEST_AT,
    event_time_fault,
    is_event_time,
    to_ms,
    unit_of,
)

MS = 1_700_000_000_123
EVENTS = [
    (Listen, {"event_id": "e", "user_id": "u", "item_id": "i"}),
    (SessionStart, {"session_id": "s", "user_id": "u"}),
    (CatalogItem, {"item_id": "i", "kind": "track"}),
    (LiveSegment, {"item_id": "i", "start_ms": 0, "end_ms": 1, "text": "words"}),
    (UserErasure, {"erasure_id": "x", "user_id": "u"}),
]
ABSURD = [
    (MS // 1_000, "looks like seconds"),
    (MS * 1_000, "looks like microseconds"),
    (MS * 1_000_000, "looks like nanoseconds"),
    (0, "is before 2000-01-01"),
    (-1, "is before 2000-01-01"),
    (EARLIEST_EVENT_AT - 1, "is before 2000-01-01"),
    (LATEST_AT + 1, "is after 2100-01-01"),
    (2**63 - 1, "is after 2100-01-01"),
    (253_402_300_799_999, "is after 2100-01-01"),
]


@pytest.mark.parametrize(("at", "words"), ABSURD)
def test_a_fault_guesses_the_unit_and_says_what_is_expected(at, words):
    fault = event_time_fault(at)
    assert fault.startswith(f"{at} {words}; expected milliseconds")


@given(st.integers(EARLIEST_EVENT_AT, LATEST_AT))
def test_each_time_between_2000_and_2100_is_an_event_s_and_in_another_unit_it_is_named(at):
    assert event_time_fault(at) is None
    for factor, unit in ((1_000, "microseconds"), (1_000_000, "nanoseconds")):
        assert f"looks like {unit}" in event_time_fault(at * factor)
    assert "looks like seconds" in event_time_fault(-(-EARLIEST_EVENT_AT // 1_000) if at < 10**12 else at // 1_000)


@given(st.integers(EARLIEST_EVENT_AT, LATEST_AT))
def test_the_unit_of_a_time_is_known_from_its_size_and_converts_back(at):
    for unit, value in (("ms", at), ("us", at * 1_000), ("ns", at * 1_000_000), ("s", at / 1_000)):
        assert unit_of(value) == unit
        assert to_ms(value, unit) == at


@pytest.mark.parametrize(
    "at", [0, -1, EARLIEST_EVENT_AT - 1, LATEST_AT + 1, float("inf"), float("nan"), 10**30, -(10**9)]
)
def test_what_lies_outside_in_every_unit_has_none(at):
    assert unit_of(at) is None
    assert not is_event_time(at)


def test_nothing_happened_later_than_the_present_and_a_clock_beyond_2100_moves_no_bound():
    assert is_event_time(MS, MS)
    assert not is_event_time(MS, MS - 1)
    assert not is_event_time(LATEST_AT + 1, LATEST_AT + 2)


@pytest.mark.parametrize(("model", "fields"), EVENTS)
@pytest.mark.parametrize(("at", "words"), ABSURD)
def test_no_record_of_an_event_takes_an_absurd_time(model, fields, at, words):
    with pytest.raises(ValidationError, match=words) as caught:
        model(at=at, **fields)
    assert caught.value.errors()[0]["type"] == "absurd_time"
    for edge in (EARLIEST_EVENT_AT, LATEST_AT):
        assert model(at=edge, **fields).at == edge


@pytest.mark.parametrize(("at", "words"), ABSURD)
def test_no_row_of_a_log_folder_holds_an_absurd_time(at, words):
    (_, listen), (_, session), (_, item), *_ = EVENTS
    rows = [
        (decode_listen, listen),
        (decode_heldout, {**listen, "role": "test"}),
        (decode_session, session),
        (decode_catalog, item),
        (decode_catalog, {"item_id": "i", "removed": True}),
    ]
    for decode, fields in rows:
        with pytest.raises(RowError, match=f"^at: {at} {words}; expected milliseconds"):
            decode(json.dumps({**fields, "at": at}).encode())
        assert decode(json.dumps({**fields, "at": MS}).encode()).at == MS


def test_other_faults_of_a_row_are_reported_in_the_same_form():
    for change in ({"listened_ms": -1}, {"at": "x"}, {"at": 1.5}, {"at": None}):
        (name,) = change
        with pytest.raises(RowError, match=f"^{name}: expected .*, got "):
            decode_listen(json.dumps({**EVENTS[0][1], "at": MS, **change}).encode())


def item(**facts):
    return CatalogItem(item_id="i", kind="track", at=MS, **facts)


@pytest.mark.parametrize(
    "at",
    [
        -315_619_200_000,  # 1960-01-01
        -8_520_336_000_000,  # 1700
        0,
        2_178_000_000,  # 1970-01-26 05:00, midnight in New York: a day that looks like seconds
        MS,
        LATEST_AT,
    ],
)
def test_music_of_any_year_may_be_published(at):
    assert item(published_at=at).published_at == at


def test_publications_before_our_calendar_are_cut_to_its_first_day():
    assert item(published_at=-(2**63)).published_at == EARLIEST_FACT_AT


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (MS // 1_000, "looks like seconds"),
        (MS * 1_000, "looks like microseconds"),
        (MS * 1_000_000, "looks like nanoseconds"),
        (LATEST_AT + 1, "is after 2100-01-01"),
        (253_402_300_799_999, "is after 2100-01-01"),
    ],
)
def test_publications_in_another_unit_or_after_2100_are_refused(at, words):
    with pytest.raises(ValidationError, match=words) as caught:
        item(published_at=at)
    assert caught.value.errors()[0]["type"] == "absurd_time"


@pytest.mark.parametrize("at", [LATEST_AT + 1, 253_402_300_799_999, 2**63 - 1, 10**30])
def test_never_may_be_written_as_any_time_far_away(at):
    assert item(expires_at=at).expires_at == LATEST_AT


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (MS // 1_000, "looks like seconds"),
        (MS * 1_000, "looks like microseconds"),
        (MS * 1_000_000, "looks like nanoseconds"),
        (-1, "is before 1970-01-01"),
    ],
)
def test_expiries_in_another_unit_are_refused(at, words):
    with pytest.raises(ValidationError, match=words) as caught:
        item(expires_at=at)
    assert caught.value.errors()[0]["type"] == "absurd_time"


def test_what_was_taken_can_be_stored_and_what_was_stored_before_can_be_read():
    taken = item(published_at=-(2**63), expires_at=2**63 - 1)
    common = {"item_id": "i", "kind": "track", "source_offset": 0}
    versions = {"v": {"sid": [1], "vector": "", "vector_scale": 1.0}}
    times = {"published_at": taken.published_at, "expires_at": taken.expires_at}
    assert ItemSids(**common, versions=versions, **times).expires_at == LATEST_AT
    # Accepted before units were guessed.
    older = ItemSids(**common, versions=versions, published_at=MS // 1_000, expires_at=MS // 1_000)
    assert ItemSids.from_json(older.to_json()) == older


def test_the_schema_has_the_bounds():
    at = Listen.model_json_schema()["properties"]["at"]
    assert (at["minimum"], at["maximum"]) == (EARLIEST_EVENT_AT, LATEST_AT)
    assert "Epoch milliseconds UTC" in at["description"]


@given(st.integers(-(2**70), 2**70))
def test_struct_and_model_take_the_same_times(at):
    fields = json.dumps({**EVENTS[0][1], "at": at}).encode()
    verdicts = []
    for read in (decode_listen, Listen.from_json):
        try:
            verdicts.append(read(fields).at)
        except (RowError, ValidationError, msgspec.MsgspecError):
            verdicts.append(None)
    assert verdicts[0] == verdicts[1]
