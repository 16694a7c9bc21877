"""Hints about malformed records: the right hint, none for valid records, and never an exception."""

import json
from types import SimpleNamespace

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
    (
        b"\x00\x00\x00\x00\x07" + value(),
        "Schema-Registry frame (magic byte 0, schema id 7); the JSON begins at byte 5; expected JSON alone: publish it",
    ),
    (b"\x00\x00\x01\x00\x00\x02\x04", "Schema-Registry frame (magic byte 0, schema id 65536); expected JSON alone"),
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
    (b"\x00\x00\x00\x00\x00", "looks like binary data"),
    (b"\x04\x22\x4d\x18d@", "lz4"),
    (b"\x82SNAPPY\x00\x00", "snappy"),
    (b"\xc3\x01\x00", "Avro record"),
    (b"\x0a\x05user1\x12\x03abc\x18\x80\xf0\x8e\xa4\xe1\x31", "looks like a Protobuf message"),
    (b"\x0a\x05user1\x12\x03abc", "looks like a Protobuf message"),
    (b"\x02u\x02i\x02e\xc8\x01\x00", "such as Avro or MessagePack"),
    (b"\x81\xa7user_id\xa1u\x00", "such as Avro or MessagePack"),
    (b"plain text", ""),
    (b'{"user_id": "a\x01b"}', ""),
    (b"\x1b[31mred", ""),
    (value(at=10**30), "at: 1.00E+30 is after 2100-01-01"),
    (b'{"at": ' + b"9" * 5_000 + b"}", ""),
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
        (
            b"\x00\x00\x00\x00\x01u",
            "the key looks like a Schema-Registry frame (magic byte 0, schema id 1); expected the bare id",
        ),
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


NOT_JSON = "not_json: expected one JSON object in UTF-8: "
TOLD = [
    (b"", NOT_JSON + "got an empty value"),
    (b" \n", NOT_JSON + "got nothing but spaces"),
    (b"{", NOT_JSON + "got JSON that ends too early, after 1 characters"),
    (value()[:-1], NOT_JSON + "got JSON that ends too early, after 69 characters"),
    (b'{"user_id": x}', NOT_JSON + "got JSON that is damaged at character 12"),
    (b"\xff", NOT_JSON + "got bytes that are not UTF-8, from byte 0 (0xff)"),
    (b'{"user_id": "\\ud83d"}', NOT_JSON + "a lone surrogate (\\ud83d) is not valid"),
    (b"\x1f\x8b\x08", NOT_JSON + "looks like gzip; expected JSON (compress"),
    (
        b"\x00\x00\x00\x00\x07" + value(),
        NOT_JSON + "looks like a Schema-Registry frame",
    ),
    (b"\x0a\x05user1\x12\x03abc", NOT_JSON + "looks like a Protobuf message"),
    (b"[1]", "wrong_type: expected an object, got [1]"),
    (b'"x"', 'wrong_type: expected an object, got "x"'),
    (value(at="x"), 'wrong_type: at: expected a whole number, got "x"; at is text'),
    (value(at=1.5), "wrong_type: at: expected a whole number, got 1.5"),
    (value(at=1_796_045_950), "absurd_time: at: 1796045950 looks like seconds; expected milliseconds"),
    (value(at=10**30), "absurd_time: at: 1.00E+30 is after 2100-01-01"),
    (value(item_id=""), 'bad_value: item_id: expected text of 1 or more characters, got ""'),
    (value(item_id="i" * 300), "bad_value: item_id: expected text of at most 256 characters, got "),
    (value(listened_ms=-1), "bad_value: listened_ms: expected 0 or more, got -1"),
    (value(signal="hum"), "bad_value: signal: expected 'listen', 'like', "),
    (json.dumps({"user_id": "u"}).encode(), "missing_field: event_id: expected a value, got none"),
    (
        json.dumps({"schema": {}, "payload": GOOD}).encode(),
        "missing_field: event_id: expected a value, got none; looks",
    ),
]


@pytest.mark.parametrize(("raw", "expected"), TOLD)
def test_a_dead_letter_says_in_our_words_what_was_expected_and_what_came(raw, expected) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_listen(b"u", raw, GOOD["at"])
    place = {"topic": "t", "partition": 0, "offset": 0, "timestamp": 5}
    source = SimpleNamespace(**place, key=b"u", value=raw, headers=())
    told = dict(dead_letter(source, caught.value).headers)["__streams.errors.message"].decode()
    assert told.startswith(expected)
    for internal in ("msgspec", "$.", "codec", "Input ", "truncated", "(byte"):
        assert internal not in told


HUGE = [
    value(item_id="i" * 200_000),
    value(signal="s" * 200_000),
    b'{"at": ' + b"9" * 5_000 + b"}",
    value(at=10**4_000),
    json.dumps({"at": ["x" * 1_000] * 200}).encode(),
    json.dumps({"schema": "s" * 100_000, "payload": "p" * 100_000}).encode(),
    json.dumps({"user_id": {"password": "p" * 100_000}}).encode(),
    b"\x08\x01" * 130_000,
    b"[" * 260_000,
]


@pytest.mark.parametrize("raw", HUGE, ids=range(len(HUGE)))
@pytest.mark.parametrize("key", [b"u", b"k" * 100_000, b'"' * 100_000])
def test_what_a_dead_letter_says_is_short_whatever_came(raw, key) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_listen(key, raw, GOOD["at"])
    assert len(str(caught.value)) <= 330
    assert len(guess(key, raw)) <= 300


@given(st.binary(max_size=60))
def test_text_without_control_characters_is_no_binary_data(raw) -> None:
    text = "".join(chr(32 + code % 95) for code in raw).encode()
    assert "binary" not in guess(b"u", text)
    assert "Protobuf" not in guess(b"u", text)
