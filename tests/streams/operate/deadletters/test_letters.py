"""Reading dead letters is the inverse of writing them, for any record."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.contracts import deadletters
from sidestream.streams.contracts.deadletters import REASON_HEADER, TOPIC_HEADER, dead_letter
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import BadRecord, SettingsError
from sidestream.streams.kafka.tail import TopicRecord
from sidestream.streams.operate.deadletters import Letter, Place, Selection, Source, parse_moment, read_letter
from sidestream.streams.operate.deadletters.letter import REPLAYED_HEADER, make_mark, read_mark

NAMES = st.sampled_from([TOPIC_HEADER, REASON_HEADER, REPLAYED_HEADER, "x-attempt", "traceparent"]) | st.text()


def dead_record(key, value, headers=(), error=None) -> TopicRecord:
    record = SimpleNamespace(
        topic="listen-events.v1", partition=3, offset=1042, timestamp=5, key=key, value=value, headers=headers
    )
    letter = dead_letter(record, error or BadRecord("bad_value", "no such signal"))
    return TopicRecord(1, 7, 99, letter.key, letter.value, tuple(letter.headers))


@given(st.none() | st.binary(), st.none() | st.binary(), st.lists(st.tuples(NAMES, st.binary()), max_size=5))
def test_reading_is_the_inverse_of_writing(key, value, headers) -> None:
    record = dead_record(key, value, headers)
    letter = read_letter("listen-events.v1.dlq", record)
    assert letter.place == Place("listen-events.v1.dlq", 1, 7)
    assert letter.source == Source("listen-events.v1", 3, 1042, 5)
    assert (letter.died_at, letter.reason, letter.exception) == (99, "bad_value", "BadRecord")
    assert letter.message.startswith("bad_value: no such signal")
    assert (letter.key, letter.value, list(letter.headers)) == (key, value, headers)
    assert letter.obstacle == ("empty" if key is None and value is None else None)
    # A letter is never mistaken for a mark, regardless of its record's headers.
    assert read_mark(record) is None


def test_the_next_delivery_increments_the_attempt_and_keeps_the_other_headers() -> None:
    first = read_letter("t.dlq", dead_record(b"k", b"v", [("a", b"1"), ("a", b"2")]))
    assert first.attempt == 1
    assert first.next_headers() == [("a", b"1"), ("a", b"2"), ("x-attempt", b"2")]
    second = read_letter("t.dlq", dead_record(b"k", b"v", first.next_headers()))
    assert second.attempt == 2
    assert second.next_headers() == [("a", b"1"), ("a", b"2"), ("x-attempt", b"3")]
    strange = read_letter("t.dlq", dead_record(b"k", b"v", [("x-attempt", b"\xb2 many")]))
    assert strange.next_headers() == [("x-attempt", b"2")]


def test_truncated_letters_are_reported_and_not_replayed(monkeypatch) -> None:
    monkeypatch.setattr(deadletters, "MAX_DEAD_VALUE_BYTES", 10)
    letter = read_letter("t.dlq", dead_record(b"k", b"x" * 11))
    assert (letter.cut, letter.value, letter.obstacle) == ({"value": 11}, b"x" * 10, "cut")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("a", b"1"),),
        ((TOPIC_HEADER, b"t"),),
        tuple({**dict(dead_record(b"k", b"v").headers), "__streams.errors.offset": b"?"}.items()),
    ],
)
def test_a_foreign_record_is_listed_and_not_replayed(headers) -> None:
    letter = read_letter("t.dlq", TopicRecord(0, 0, 1, b"k", b"v", headers))
    assert (letter.reason, letter.source, letter.obstacle) == ("foreign", None, "foreign")
    assert (letter.key, letter.value, letter.headers) == (b"k", b"v", headers)


def test_marks_name_their_letters() -> None:
    value, headers = make_mark([5, 3, 9])
    assert read_mark(TopicRecord(0, 10, 1, None, value, tuple(headers))) == {3, 5, 9}
    assert read_mark(TopicRecord(0, 10, 1, None, b"damaged", tuple(headers))) == frozenset()
    assert read_mark(TopicRecord(0, 10, 1, None, None, ())) is None


def letter(**fields) -> Letter:
    known = {"place": Place("t.dlq", 1, 7), "died_at": 1_000, "source": Source("t", 3, 42, 5), "reason": "not_json"}
    rest = {"exception": "", "message": "", "key": b"k", "value": b"v", "headers": ()}
    return Letter(**{**known, **rest, **fields})


@pytest.mark.parametrize(
    ("selection", "others"),
    [
        (Selection(places=frozenset({Place("t.dlq", 1, 7)})), {"place": Place("t.dlq", 1, 8)}),
        (Selection(reasons=frozenset({"not_json"})), {"reason": "oversize"}),
        (Selection(partitions=frozenset({3})), {"source": Source("t", 1, 42, 5)}),
        (Selection(partitions=frozenset({3})), {"source": None}),
        (Selection(since_ms=1_000), {"died_at": 999}),
        (Selection(until_ms=1_001), {"died_at": 1_001}),
        (Selection(max_attempt=1), {"headers": (("x-attempt", b"2"),)}),
    ],
)
def test_a_selection_restricts_by_each_criterion(selection, others) -> None:
    assert selection.matches(letter())
    assert not selection.matches(letter(**others))
    assert Selection().matches(letter(**others))
    assert not selection.is_everything


def test_places_and_times_are_parsed() -> None:
    place = Place("listen-events.v1.dlq", 3, 17)
    assert Place.parse(str(place)) == place
    for text in ("t", "t/1", "t/1/x", "/1/2", "t/-1/2"):
        with pytest.raises(SettingsError, match="topic/partition/offset"):
            Place.parse(text)
    now = 1_700_000_000_000
    assert parse_moment("90m", now) == now - 5_400_000
    assert parse_moment("2d", now) == now - 172_800_000
    assert parse_moment("1700000000123", now) == 1_700_000_000_123
    assert parse_moment("2026-03-01T12:00", now) == parse_moment("2026-03-01T13:00+01:00", now) == 1_772_366_400_000
    with pytest.raises(SettingsError, match="2h, 7d"):
        parse_moment("yesterday", now)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("99999999999d", "is before 2000-01-01"),
        ("40000d", "is before 2000-01-01"),
        ("99999999999999999999d", "expected a time, for example"),
        ("9" * 5_000, "expected a time, for example"),
        ("123456", "is before 2000-01-01"),
        ("1767225600", "looks like seconds"),
        ("9999999999999", "is after 2100-01-01"),
        ("1969-12-31", "is before 2000-01-01"),
        ("2101-01-01", "is after 2100-01-01"),
        ("", "expected a time, for example"),
    ],
)
def test_a_time_at_which_nothing_can_have_happened_is_refused(text, words):
    """`--valid-from 99999999999d` was -8639998203855247490."""
    with pytest.raises(SettingsError, match=words):
        parse_moment(text, 1_700_000_000_000)


def test_what_no_client_could_read_is_listed_and_not_replayed() -> None:
    value = Unreadable("damaged batch", 1040, "batch", b"raw")
    letter = read_letter("t.dlq", dead_record(None, value, error=BadRecord("unreadable", value.why)))
    assert (letter.reason, letter.obstacle, letter.message) == ("unreadable", "unreadable", "unreadable: damaged batch")
    assert letter.source == Source("listen-events.v1", 3, 1042, 5)
    assert (letter.first_offset, letter.content, letter.value) == (1040, "batch", b"raw")
    plain = read_letter("t.dlq", dead_record(b"k", b"v"))
    assert (plain.first_offset, plain.content) == (None, None)


def test_a_letter_that_cannot_be_read_itself_is_foreign() -> None:
    value = Unreadable("damaged batch", 7, "value", b"v", b"k", (("h", None),))
    letter = read_letter("t.dlq", TopicRecord(1, 7, 99, None, value, ()))
    assert (letter.reason, letter.obstacle, letter.source) == ("foreign", "foreign", None)
    assert letter.message == "dead letter that cannot be read: damaged batch"
    assert (letter.key, letter.value, letter.headers) == (b"k", b"v", (("h", b""),))
