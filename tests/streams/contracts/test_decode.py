"""Decoding: every malformed record gets its reason code, no other exception is raised, both schemas are equal."""

import json
import math
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sidestream.models.data.rows import ListenRow
from sidestream.models.records import CatalogItem, Listen, LiveListeners, LiveSegment, SessionStart
from sidestream.models.records.times import EARLIEST_EVENT_AT, LATEST_AT, LATEST_UNSTAMPED_AT
from sidestream.streams.contracts.decode import (
    Limits,
    Reason,
    decode_catalog_item,
    decode_listen,
    decode_of_item,
    decode_session_start,
    decode_user_erasure,
)
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.errors import BadRecord

NOW = 1_700_000_000_000
LISTEN = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "at": NOW}
SESSION = {"session_id": "s1", "user_id": "u1", "at": NOW}
ITEM = {"item_id": "i1", "kind": "track", "at": NOW}
VIEWS = {"views": {"audio": [0.5]}}

DECODERS = {
    "listen": (decode_listen, LISTEN, b"u1"),
    "session": (decode_session_start, SESSION, b"u1"),
    "item": (decode_catalog_item, ITEM, b"i1"),
}
OTHERS = {
    "erasure": (decode_user_erasure, {"erasure_id": "r1", "user_id": "u1", "at": NOW}, b"u1"),
    "segment": (
        lambda *given: decode_of_item(LiveSegment, *given),
        {"item_id": "i1", "at": NOW, "start_ms": 0, "end_ms": 1, "text": ""},
        b"i1",
    ),
    "listeners": (
        lambda *given: decode_of_item(LiveListeners, *given),
        {"item_id": "i1", "at": NOW, "partition": 0, "since": 0, "offset": 0, "means": {}},
        b"i1",
    ),
}


def to_json(*parts: dict, without: str = "") -> bytes:
    merged = {name: value for part in parts for name, value in part.items() if name != without}
    return json.dumps(merged).encode()


def reason_of(kind: str, value: bytes | None, key: bytes | None = None, timestamp_ms: int = NOW, **limits) -> str:
    decode, _, good_key = DECODERS[kind]
    with pytest.raises(BadRecord) as caught:
        decode(good_key if key is None else key, value, timestamp_ms, Limits(**limits))
    assert caught.value.reason in list(Reason)
    assert len(caught.value.detail) <= 300
    return caught.value.reason


@pytest.mark.parametrize("kind", DECODERS)
def test_decode_accepts_good_records_and_ignores_unknown_fields(kind: str) -> None:
    decode, good, key = DECODERS[kind]
    record = decode(key, to_json(good, {"added_later": {"deep": [1, None]}}), NOW)
    assert {name: getattr(record, name) for name in good} == good


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b"listen", Reason.NOT_JSON),
        (b"\xff\xfe{}", Reason.NOT_JSON),
        (b"\xef\xbb\xbf{}", Reason.NOT_JSON),
        (b"[" * 100_000 + b"]" * 100_000, Reason.NOT_JSON),
        (b"null", Reason.WRONG_TYPE),
        (b"[]", Reason.WRONG_TYPE),
        (b"12", Reason.WRONG_TYPE),
        (b"{}", Reason.MISSING_FIELD),
    ],
)
def test_decode_gives_the_reason_for_values_that_are_not_records(kind: str, value: bytes, reason: str) -> None:
    if value.startswith(b"[["):
        value = to_json(DECODERS[kind][1])[:-1] + b', "x": ' + value + b"}"
    assert reason_of(kind, value) == reason


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"at": "1700000000000"}, Reason.WRONG_TYPE),
        ({"at": 1.5}, Reason.WRONG_TYPE),
        ({"at": True}, Reason.WRONG_TYPE),
        ({"at": None}, Reason.WRONG_TYPE),
        ({"at": [NOW]}, Reason.WRONG_TYPE),
        ({"at": -1}, Reason.ABSURD_TIME),
        ({"at": EARLIEST_EVENT_AT - 1}, Reason.ABSURD_TIME),
        ({"at": LATEST_AT + 1}, Reason.ABSURD_TIME),
        ({"schema_version": 0}, Reason.BAD_VALUE),
        ({"at": math.nan}, Reason.NOT_JSON),
        ({"unknown": math.inf}, Reason.NOT_JSON),
        ({"at": NOW + 600_001}, Reason.ABSURD_TIME),
    ],
)
def test_decode_gives_the_reason_for_bad_fields(kind: str, change: dict, reason: str) -> None:
    assert reason_of(kind, to_json(DECODERS[kind][1], change)) == reason


@pytest.mark.parametrize("kind", DECODERS)
def test_decode_reports_missing_fields(kind: str) -> None:
    for name in DECODERS[kind][1]:
        assert reason_of(kind, to_json(DECODERS[kind][1], without=name)) == Reason.MISSING_FIELD


@pytest.mark.parametrize("kind", DECODERS)
def test_decode_rejects_keys_that_are_not_the_id(kind: str) -> None:
    value = to_json(DECODERS[kind][1])
    decode, _, _ = DECODERS[kind]
    for key in (b"other", b"", b"\xff", None, b"u" * 10_000):
        with pytest.raises(BadRecord) as caught:
            decode(key, value, NOW)
        assert caught.value.reason == Reason.KEY_MISMATCH
        assert len(caught.value.detail) <= 300


@pytest.mark.parametrize("kind", DECODERS)
def test_decode_rejects_oversize_values_before_parsing(kind: str) -> None:
    assert reason_of(kind, b"x" * 2_000, max_value_bytes=1_999) == Reason.OVERSIZE
    assert reason_of(kind, b"x" * 1_999, max_value_bytes=1_999) == Reason.NOT_JSON


@pytest.mark.parametrize("kind", ["listen", "session"])
def test_decode_rejects_null_values(kind: str) -> None:
    assert reason_of(kind, None) == Reason.NULL_VALUE


def test_decode_catalog_item_reads_a_null_value_as_removal() -> None:
    assert decode_catalog_item(b"i1", None, NOW) is None
    assert reason_of("item", None, key=b"") == Reason.KEY_MISMATCH
    assert reason_of("item", None, key=b"\xff") == Reason.KEY_MISMATCH


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_decode_catalog_item_rejects_nan_and_infinity(number: str) -> None:
    value = to_json(ITEM, VIEWS).replace(b"0.5", number.encode())
    assert reason_of("item", value) in (Reason.NOT_JSON, Reason.BAD_VALUE)


@pytest.mark.parametrize("kind", DECODERS)
def test_decode_compares_time_with_the_record_timestamp(kind: str) -> None:
    decode, good, key = DECODERS[kind]
    assert decode(key, to_json(good), NOW - 600_000).at == NOW
    assert reason_of(kind, to_json(good), timestamp_ms=NOW - 600_001) == Reason.ABSURD_TIME
    earliest = to_json(good, {"at": EARLIEST_EVENT_AT})
    assert decode(key, earliest, NOW).at == EARLIEST_EVENT_AT
    assert reason_of(kind, earliest, max_past_ms=NOW - EARLIEST_EVENT_AT - 1) == Reason.ABSURD_TIME


@pytest.mark.parametrize("kind", [*DECODERS, "erasure", "segment", "listeners"])
def test_without_a_timestamp_times_are_bounded_too(kind: str) -> None:
    """What is read again has a fixed bound, requests are compared with the clock."""
    decode, good, key = {**DECODERS, **OTHERS}[kind]
    bound = LATEST_UNSTAMPED_AT if kind in ("listen", "item") else NOW + 600_000
    for wall_ms in (NOW, NOW + 1 if bound == LATEST_UNSTAMPED_AT else NOW):
        limits = Limits(wall_ms=lambda: wall_ms, max_past_ms=1)  # noqa: B023 - called before the next one
        for at in (EARLIEST_EVENT_AT, NOW, bound):
            assert decode(key, to_json(good, {"at": at}), -1, limits).at == at
        for at in (bound + 1, LATEST_AT):
            with pytest.raises(BadRecord, match="a record without a Kafka timestamp") as caught:
                decode(key, to_json(good, {"at": at}), -1, limits)
            assert caught.value.reason == Reason.ABSURD_TIME


def test_limits_come_from_the_settings() -> None:
    settings = TopicSettings(max_value_bytes=2_048, max_future_ms=5, max_past_ms=7)
    assert Limits.from_settings(settings) == Limits(2_048, 5, 7)
    assert Limits.from_settings(TopicSettings()) == Limits()


def test_decode_listen_rejects_invalid_utf8_in_ignored_fields() -> None:
    value = to_json(LISTEN)[:-1] + b', "unknown": "\xff"}'
    assert reason_of("listen", value) == Reason.NOT_JSON


@pytest.mark.parametrize(
    ("model", "field", "wrong"),
    [
        (SessionStart, "exclude", 1),
        (SessionStart, "languages", 1),
        (SessionStart, "kinds", "zz"),
        (CatalogItem, "tags", 1),
        (CatalogItem, "market", 1),
        (CatalogItem, "segments", {}),
        (CatalogItem, "views", "x"),
    ],
)
def test_of_a_list_only_the_first_wrong_element_is_reported(model, field: str, wrong: object) -> None:
    """Each fault costs 20 us, and a value of 256 KB has room for 100,000."""
    wrongs: object = [wrong] * 50_000
    good = SESSION if model is SessionStart else ITEM
    with pytest.raises(ValidationError) as caught:
        model.from_json(to_json(good, {field: {"audio": wrongs} if field == "views" else wrongs}), strict=True)
    assert {error["loc"][-2 if wrong == {} else -1] for error in caught.value.errors()} == {0}


def verdict(kind: str, key: bytes | None, value: bytes | None, timestamp_ms: int) -> str | None:
    try:
        DECODERS[kind][0](key, value, timestamp_ms)
    except BadRecord as error:
        return error.reason
    return None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("kind", DECODERS)
@given(key=st.none() | st.binary(max_size=8), value=st.none() | st.binary(max_size=60), at=st.integers(-1, 2**62))
def test_decode_raises_nothing_but_bad_record_on_any_bytes(kind: str, key, value, at: int) -> None:
    assert verdict(kind, key, value, at) in {None, *Reason}


@pytest.mark.parametrize("kind", DECODERS)
@given(data=st.data())
def test_decode_raises_nothing_but_bad_record_on_changed_records(kind: str, data: st.DataObject) -> None:
    decode, good, key = DECODERS[kind]
    id_field = "item_id" if kind == "item" else "user_id"
    model = {"listen": Listen, "session": SessionStart, "item": CatalogItem}[kind]
    fields = st.sampled_from([*model.model_fields, "unknown"])
    changed = dict(good) | data.draw(st.dictionaries(fields, json_values, max_size=4))
    value = bytearray(json.dumps(changed, ensure_ascii=data.draw(st.booleans())).encode(errors="surrogatepass"))
    for at in data.draw(st.lists(st.integers(0, len(value) - 1), max_size=2)):
        value[at] = data.draw(st.integers(0, 255))
    reason = verdict(kind, key, bytes(value), NOW)
    assert reason in {None, *Reason}
    if reason is None:
        assert getattr(decode(key, bytes(value), NOW), id_field).encode() == key


ids = st.text(string.printable + "äøß漢🎧", min_size=1, max_size=20)


@given(
    listen=st.builds(
        Listen,
        event_id=ids,
        user_id=ids,
        item_id=ids,
        at=st.integers(EARLIEST_EVENT_AT, NOW),
        listened_ms=st.none() | st.integers(0, 2**40),
        duration_ms=st.none() | st.integers(1, 2**40),
        signal=st.sampled_from(["listen", "like", "save", "follow", "share", "skip", "dislike"]),
        surface=st.none() | ids,
        device=st.none() | ids,
        session_id=st.none() | ids,
        schema_version=st.integers(1, 9),
    )
)
def test_decode_listen_reads_every_listen_that_the_model_writes(listen: Listen) -> None:
    struct = decode_listen(listen.user_id.encode(), listen.to_json(), NOW)
    assert msgspec.structs.asdict(struct) == listen.model_dump()


def test_listen_struct_has_the_schema_of_the_model() -> None:
    assert _plain(msgspec.json.schema(ListenRow)) == _plain(Listen.model_json_schema())


def _plain(schema: dict) -> dict:
    """Reduce a JSON schema to what affects validation: fields, types, bounds, enums, defaults, required fields."""
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    fields = {}
    for name, field in schema["properties"].items():
        choices = []
        for choice in field.get("anyOf", [field]):
            kept = {word: choice[word] for word in choice if word not in ("title", "description", "default", "type")}
            if "enum" in kept:
                kept["enum"] = sorted(kept["enum"])
            choices.append((choice.get("type", "string"), sorted(kept.items())))
        fields[name] = (sorted(choices), field.get("default"))
    return {"fields": fields, "required": sorted(schema["required"])}


def test_decode_user_erasure_validates_key_and_time() -> None:
    value = b'{"erasure_id":"r1","user_id":"u","at":%d}' % NOW
    erasure = decode_user_erasure(b"u", value, NOW)
    assert erasure is not None
    assert (erasure.user_id, erasure.at, erasure.erasure_id) == ("u", NOW, "r1")
    assert decode_user_erasure(b"u", None, NOW) is None
    # Erasures may be in the past whatever the limit for listens; in the future they would reject listens until then.
    assert decode_user_erasure(b"u", value, 2 * NOW, Limits(max_past_ms=1)) is not None
    for key, bad, timestamp_ms, reason in (
        (b"v", value, NOW, "key_mismatch"),
        (None, None, NOW, "key_mismatch"),
        (b"\xff", None, NOW, "key_mismatch"),
        (b"u", value, NOW - 600_001, "absurd_time"),
        (b"u", b'{"erasure_id":"r1","user_id":"u","at":5000}', 5_000, "absurd_time"),
        (b"u", b'{"user_id":"u","at":%d}' % NOW, NOW, "missing_field"),
        (b"u", b"{", NOW, "not_json"),
    ):
        with pytest.raises(BadRecord) as caught:
            decode_user_erasure(key, bad, timestamp_ms)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("device_off_ms", "producer_off_ms", "reason"),
    [
        (3_600_000, 0, "absurd_time"),
        (600_000, 0, None),
        (600_001, 0, "absurd_time"),
        (-3_600_000, 0, None),
        (-30 * 86_400_000, 0, None),
        # A producer's own clock is ahead: its records agree with each other. Brokers refuse more than an hour.
        (3_600_000, 3_600_000, None),
        # It is behind: what devices with right clocks say is in its future.
        (0, -3_600_000, "absurd_time"),
        (0, -600_000, None),
    ],
)
def test_clocks_that_differ_are_bounded_by_the_kafka_timestamp_alone(device_off_ms, producer_off_ms, reason) -> None:
    for kind in ("listen", "session"):
        decode, good, key = DECODERS[kind]
        value = to_json(good, {"at": NOW + device_off_ms})
        assert verdict(kind, key, value, NOW + producer_off_ms) == reason
        if reason is not None:
            with pytest.raises(BadRecord, match="the clocks differ, or local time was sent as UTC"):
                decode(key, value, NOW + producer_off_ms)
