"""Unreadable records are refused by every decoder, and become dead letters that say all that is known."""

from types import SimpleNamespace

import pytest

from sidestream.models.records import LiveSegment
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.contracts import deadletters
from sidestream.streams.contracts.deadletters import dead_letter
from sidestream.streams.contracts.decode import (
    MAX_DETAIL_CHARS,
    Reason,
    decode_catalog_item,
    decode_listen,
    decode_of_item,
    decode_session_start,
    decode_user_erasure,
)
from sidestream.streams.contracts.unreadable import Unreadable, require_intact
from sidestream.streams.errors import BadRecord, TopicError
from sidestream.streams.kafka.read_rules import keep_last
from sidestream.streams.operate.states.requests import _carried
from sidestream.streams.popularity.values import read_key, read_part

HEADERS = (("traceparent", b"00-1"), ("n\\xff", None))
WHOLE = Unreadable("name of header 2", 7, "value", b"v", b"k", HEADERS)
BATCH = Unreadable("offsets 5 to 7: damaged batch", 5, "batch", b"raw bytes")


def record(value, offset=7, topic="listen-events.v1"):
    return SimpleNamespace(topic=topic, partition=3, offset=offset, timestamp=9, key=None, value=value, headers=())


def letter_of(value):
    return dead_letter(record(value), BadRecord(Reason.UNREADABLE, value.why))


@pytest.mark.parametrize(
    "decode",
    [
        decode_listen,
        decode_session_start,
        decode_catalog_item,
        decode_user_erasure,
        lambda *args: decode_of_item(LiveSegment, *args),
    ],
)
@pytest.mark.parametrize("value", [WHOLE, BATCH, Unreadable("x" * 2_000, 0)])
def test_every_decoder_of_an_input_topic_says_why(decode, value):
    with pytest.raises(BadRecord) as caught:
        decode(None, value, 9)
    assert caught.value.reason == "unreadable"
    assert caught.value.detail[:30] == value.why[:30]
    assert len(caught.value.detail) <= MAX_DETAIL_CHARS


def test_empty_bytes_are_no_unreadable_record():
    for decode in (decode_listen, decode_session_start):
        with pytest.raises(BadRecord) as caught:
            decode(b"k", b"", 9)
        assert caught.value.reason == "not_json"


def test_decoders_that_do_not_know_it_refuse_it_too():
    with pytest.raises(BadRecord):
        UpdateDecoder("v", (16,), 8).decode(None, WHOLE)
    with pytest.raises(BadRecord):
        read_key(None)
    with pytest.raises(BadRecord):
        read_part(WHOLE)
    assert WHOLE == b""


def test_the_letter_of_a_readable_rest_is_like_any_other():
    letter = letter_of(WHOLE)
    assert (letter.topic, letter.key, letter.value) == ("listen-events.v1.dlq", b"k", b"v")
    assert letter.headers[:2] == [("traceparent", b"00-1"), ("n\\xff", b"")]
    headers = dict(letter.headers)
    assert (headers[deadletters.OFFSET_HEADER], headers[deadletters.REASON_HEADER]) == (b"7", b"unreadable")
    assert headers[deadletters.MESSAGE_HEADER] == b"unreadable: name of header 2"
    assert deadletters.FIRST_OFFSET_HEADER not in headers
    assert deadletters.CONTENT_HEADER not in headers


def test_the_letter_of_a_batch_names_first_and_last_offset():
    letter = letter_of(BATCH)
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (None, b"raw bytes")
    assert (headers[deadletters.FIRST_OFFSET_HEADER], headers[deadletters.OFFSET_HEADER]) == (b"5", b"7")
    assert headers[deadletters.CONTENT_HEADER] == b"batch"


def test_a_huge_batch_is_truncated(monkeypatch):
    monkeypatch.setattr(deadletters, "MAX_DEAD_VALUE_BYTES", 10)
    letter = letter_of(Unreadable("x", 0, "batch", b"x" * 50))
    assert (letter.value, dict(letter.headers)[deadletters.CUT_HEADER]) == (b"x" * 10, b"50")


def test_a_tombstone_with_a_bad_header_is_no_empty_value():
    letter = letter_of(Unreadable("x", 7, "value", None, b"k"))
    assert (letter.key, letter.value) == (b"k", None)


def test_the_only_copy_must_be_intact():
    good = SimpleNamespace(offset=1, key=b"k", value=b"")
    require_intact("t", 3, [good, SimpleNamespace(offset=2, key=None, value=b"")])
    with pytest.raises(TopicError, match=r"t/3: expected an intact record at offset 7, got .* offsets 5 to 7: damaged"):
        require_intact("t", 3, [good, record(BATCH)])


def test_the_last_values_of_a_topic_are_the_readable_ones():
    values = {}
    good = [SimpleNamespace(key=b"a", value=b""), SimpleNamespace(key=b"b", value=b"1")]
    keep_last([*good, record(WHOLE), SimpleNamespace(key=b"b", value=None)], values)
    assert values == {b"a": b""}


def test_an_erasure_that_cannot_be_read_is_a_dead_letter_where_the_others_move():
    moved = _carried("user-erasures.v1", record(WHOLE, topic="user-erasures.v1"))
    assert (moved.topic, moved.key) == ("user-erasures.v1.dlq", b"k")
    good = SimpleNamespace(key=b"u", value=b"{}", headers=[("h", b"1")])
    assert _carried("user-erasures.v1", good) == ("user-erasures.v1", b"u", b"{}", [("h", b"1")])
