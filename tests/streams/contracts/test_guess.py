"""Hints about malformed records: the right hint, none for valid records, and never an exception."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.contracts.deadletters import dead_letter
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.contracts.guess import guess
from sidestream.streams.errors import BadRecord

GOOD = {"event_id": "e", "user_id": "u", "item_id": "i", "at": 1_796_045_950_471}


def value(**fields) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


GUESSES = [
    (b"\x00\x00\x00\x00\x07" + value(), "Schema-Registry frame (magic byte 0, schema id 7); the JSON begins at byte 5"),
    (b"\x00\x00\x01\x00\x00\x02\x04", "Schema-Registry frame (magic byte 0, schema id 65536)"),
    (json.dumps({"schema": {}, "payload": GOOD}).encode(), "Kafka-Connect envelope"),
    (json.dumps({"schema": None, "payload": {"op": "c", "after": GOOD}}).encode(), "Debezium envelope"),
    (json.dumps({"op": "u", "before": None, "after": GOOD}).encode(), "the record is its after"),
    (json.dumps({"specversion": "1.0", "type": "t", "source": "s", "data": GOOD}).encode(), "CloudEvents"),
    (json.dumps(json.dumps(GOOD)).encode(), "encoded twice"),
    (json.dumps([GOOD, GOOD]).encode(), "a JSON list of 2"),
    (value() + b"\n" + value(), "several JSON values"),
    (b"\xef\xbb\xbf" + value(), "byte order mark"),
    (value().decode().encode("utf-16"), "UTF-16"),
    (b"\x1f\x8b\x08\x00", "gzip"),
    (b"\x28\xb5\x2f\xfd\x00", "zstd"),
    (b"Obj\x01\x04", "Avro file"),
    (b"\xac\xed\x00\x05sr", "Java object"),
    (b"\x80\x05\x95\x00", "pickle"),
    (str(GOOD).encode(), "Python dict"),
    (b'{"a": None}', "Python dict"),
    (b'{"at": NaN}', "NaN is not JSON"),
    (b'{"at": [1, -Infinity]}', "Infinity is not JSON"),
    (b"<listen/>", "XML"),
    (b"u,i,1796045950471", "looks like CSV"),
    (b"u," * 300_000 + b"}", ""),
    (value() + b",", "a comma after the JSON value"),
    (b'{"user_id": "u",}', "a comma after the last value"),
    (b'{"tags": ["a", ]}', "a comma after the last value"),
    (b'{"user_id": "J\xfcrgen"}', "ISO 8859-1"),
    (b"\x00\x00\x00\x00\x00", ""),
    (b'{"user_id": "\\ud83d"}', "a lone surrogate (\\ud83d) is not valid UTF-8 text"),
    (b'{"user_id": "\\udc00x"}', "a lone surrogate (\\udc00)"),
    (b'{"user_id": "\xed\xa0\xbd"}', "a lone surrogate is not valid UTF-8 text"),
    (json.dumps({"userId": "u", "itemId": "i", "at": GOOD["at"]}).encode(), "userId for user_id, itemId for item_id"),
    (value(at=1_796_045_950), "at: 1796045950 looks like seconds; expected milliseconds"),
    (value(at=1_796_045_950.5), "at: 1796045950.5 looks like seconds"),
    (value(at=1_796_045_950_471_000), "looks like microseconds"),
    (value(at=1_796_045_950_471_000_000), "looks like nanoseconds"),
    (value(published_at=1_262_304_000), "published_at: 1262304000 looks like seconds"),
    (value(at="2026-11-30T13:39:10Z"), "at is text"),
    (value(), ""),
    (value(at=True), ""),
    (b'{"user_id": "\\ud83d\\ude00 \\\\ud83d"}', ""),
    (b"{broken", ""),
    (b"", ""),
    (None, ""),
    (b"[" * 100_000, ""),
]


@pytest.mark.parametrize(("raw", "expected"), GUESSES)
def test_hints_about_values(raw, expected) -> None:
    found = guess(b"u", raw)
    assert expected in found
    assert bool(expected) == bool(found)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b'"u"', "the key is JSON-quoted"),
        (b'{"user_id":"u"}', "the key is a JSON object"),
        (b"\x00\x00\x00\x00\x01u", "the key looks like a Schema-Registry frame (magic byte 0, schema id 1)"),
        (b" u\n", "the key has spaces around it"),
        (b"u", ""),
        (b'"', ""),
        (None, ""),
    ],
)
def test_hints_about_keys(key, expected) -> None:
    assert guess(key, value()).startswith(expected)
    assert bool(guess(key, value())) == bool(expected)


@given(
    st.none() | st.binary(),
    st.none()
    | st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["at", "payload", "schema"]), inner)
        ),
    ).map(lambda found: json.dumps(found).encode()),
)
def test_guess_never_raises(key, raw) -> None:
    assert isinstance(guess(key, raw), str)


@pytest.mark.parametrize("name", ["at", "published_at", "expires_at"])
def test_milliseconds_give_no_hint(name) -> None:
    assert guess(b"u", value(**{name: GOOD["at"]})) == ""


def test_hints_in_the_decoders_error_are_not_repeated() -> None:
    raw = value(at=1_796_045_950)
    with pytest.raises(BadRecord) as caught:
        decode_listen(b"u", raw, -1)
    assert "looks like seconds" in str(caught.value)
    assert guess(b"u", raw, str(caught.value)) == ""
    assert guess(b'"u"', raw, str(caught.value)) == "the key is JSON-quoted; expected the bare id"


@pytest.mark.parametrize(("raw", "expected"), [found for found in GUESSES if found[0] is not None and found[1]])
def test_dead_letters_contain_the_hint_and_keep_their_reason_code(raw, expected) -> None:
    record = type("Source", (), {"topic": "t", "partition": 0, "offset": 0, "timestamp": 5, "key": b"u", "headers": ()})
    record.value = raw
    bad = BadRecord("bad_value", "what the decoder said")
    headers = dict(dead_letter(record, bad).headers)
    assert headers["__streams.errors.reason"] == b"bad_value"
    message = headers["__streams.errors.message"].decode()
    assert message.startswith("bad_value: what the decoder said; ")
    assert expected in message
