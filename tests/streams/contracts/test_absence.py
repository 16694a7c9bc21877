"""Absence alike in topics, `send`, dumps and log folders: null means the default, an empty list no rule, 0 unknown."""

import json
import time

import pytest
from pydantic import ValidationError

from sidestream.models.data.rows import (
    RowError,
    decode_catalog,
    decode_heldout,
    decode_listen,
    decode_row,
    decode_session,
)
from sidestream.models.history import describe, fold
from sidestream.models.records import CatalogItem, Listen, LiveSegment, Record, SessionStart, UserErasure
from sidestream.models.records.base import without_nulls
from sidestream.streams.cli.records.compose import parse_event
from sidestream.streams.contracts import decode
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.errors import BadRecord, SettingsError
from sidestream.streams.operate.reconcile.dump import read_dump
from sidestream.streams.settings import Settings

AT = 1_750_000_000_000
GOOD = {
    Listen: {"event_id": "e", "user_id": "u", "item_id": "i", "at": AT},
    SessionStart: {"session_id": "s", "user_id": "u", "at": AT},
    CatalogItem: {"item_id": "i", "kind": "track", "at": AT},
    UserErasure: {"erasure_id": "x", "user_id": "u", "at": AT},
    LiveSegment: {"item_id": "i", "at": AT, "start_ms": 0, "end_ms": 9, "text": "t"},
}
DECODERS = {
    Listen: (b"u", decode.decode_listen),
    SessionStart: (b"u", decode.decode_session_start),
    CatalogItem: (b"i", decode.decode_catalog_item),
    UserErasure: (b"u", decode.decode_user_erasure),
    LiveSegment: (b"i", lambda *given: decode.decode_of_item(LiveSegment, *given)),
}
WORDS = {Listen: "listen", SessionStart: "session-start", CatalogItem: "item", LiveSegment: "segment"}
ROWS = {Listen: decode_listen, SessionStart: decode_session, CatalogItem: decode_catalog}
WITH_DEFAULT = [
    (model, name) for model in GOOD for name, field in model.model_fields.items() if not field.is_required()
]
REQUIRED = [(model, name) for model in GOOD for name, field in model.model_fields.items() if field.is_required()]
IDS = [f"{model.__name__}.{name}" for model, name in WITH_DEFAULT]
EMPTY = [
    (SessionStart, {"languages": [], "kinds": [], "exclude": []}),
    (CatalogItem, {"tags": [], "market": [], "duration_ms": 0}),
]


def now_ms():
    return time.time_ns() // 1_000_000


def decoded(model: type[Record], **fields):
    key, read = DECODERS[model]
    return read(key, json.dumps(GOOD[model] | fields).encode(), AT)


@pytest.mark.parametrize(("model", "name"), WITH_DEFAULT, ids=IDS)
def test_null_in_a_field_with_a_default_is_the_default_in_topics(model, name):
    assert decoded(model, **{name: None}) == decoded(model)


def test_all_fields_may_be_null_at_once_beside_unknown_ones():
    for model in GOOD:
        nulls = dict.fromkeys(name for of, name in WITH_DEFAULT if of is model)
        assert decoded(model, **nulls, added_later=None) == decoded(model)


@pytest.mark.parametrize(("model", "name"), REQUIRED)
def test_null_in_a_required_field_is_refused_as_a_wrong_type(model, name):
    with pytest.raises(BadRecord) as caught:
        decoded(model, **{name: None}, schema_version=None)
    assert caught.value.reason == ("bad_value" if name == "kind" else "wrong_type")


@pytest.mark.parametrize(("model", "name"), WITH_DEFAULT, ids=IDS)
def test_null_is_the_default_in_records_that_are_read_without_a_topic(model, name):
    assert model.from_json(json.dumps(GOOD[model] | {name: None})) == model(**GOOD[model])


def test_reading_a_record_still_refuses_what_is_no_text():
    with pytest.raises(ValidationError):
        Listen.from_json("\ud800")


@pytest.mark.parametrize(("model", "name"), [pair for pair in WITH_DEFAULT if pair[0] in ROWS])
def test_null_is_the_default_in_log_folders(model, name):
    row, line = decode_row(ROWS[model], json.dumps(GOOD[model] | {name: None}).encode() + b"\n")
    assert row == ROWS[model](json.dumps(GOOD[model]).encode())
    assert decoded(model, **json.loads(line)) == decoded(model)


def test_null_is_the_default_in_held_out_rows_and_removals():
    held = GOOD[Listen] | {"role": "test"}
    assert decode_row(decode_heldout, json.dumps(held | {"signal": None}).encode())[0] == decode_heldout(
        json.dumps(held).encode()
    )
    removal = {"item_id": "i", "at": AT, "removed": None, "title": None, "kind": "track"}
    assert decode_row(decode_catalog, json.dumps(removal).encode())[0].item is not None
    with pytest.raises(RowError, match="role"):
        decode_row(decode_heldout, json.dumps(held | {"role": None}).encode())


@pytest.mark.parametrize(("model", "name"), [pair for pair in WITH_DEFAULT if pair[0] in WORDS])
def test_null_is_the_default_in_what_is_sent(model, name):
    sent = parse_event(WORDS[model], json.dumps(GOOD[model] | {name: None, "at": now_ms()}), Settings())
    assert getattr(sent, name) == getattr(model(**GOOD[model]), name)


def test_ids_and_time_that_are_null_are_filled_in_where_missing_ones_are():
    sent = parse_event("listen", json.dumps({"event_id": None, "user_id": "u", "item_id": "i", "at": None}), Settings())
    assert sent.event_id
    assert sent.at > AT
    with pytest.raises(SettingsError, match="user_id: expected a value, got none"):
        parse_event("listen", json.dumps({"user_id": None, "item_id": "i"}), Settings())


def test_null_is_the_default_in_dumps(tmp_path):
    nulls = dict.fromkeys(name for model, name in WITH_DEFAULT if model is CatalogItem)
    (tmp_path / "nulls.jsonl").write_text(json.dumps(GOOD[CatalogItem] | nulls))
    (tmp_path / "plain.jsonl").write_text(json.dumps(GOOD[CatalogItem]))
    dumps = [read_dump(tmp_path / f"{name}.jsonl", Limits(), AT) for name in ("nulls", "plain")]
    assert dumps[0].items == dumps[1].items
    assert list(dumps[0].lines()) == list(dumps[1].lines())


@pytest.mark.parametrize(("model", "empty"), EMPTY)
def test_an_empty_list_is_no_rule_and_a_duration_of_0_unknown(model, empty):
    assert (
        decoded(model, **empty)
        == decoded(model)
        == model(**GOOD[model], **{k: v and tuple(v) for k, v in empty.items()})
    )
    sent = parse_event(WORDS[model], json.dumps(GOOD[model] | empty | {"at": now_ms()}), Settings())
    assert sent.model_copy(update={"at": AT}) == decoded(model)
    assert ROWS[model](json.dumps(GOOD[model] | empty).encode()) == ROWS[model](json.dumps(GOOD[model]).encode())


def test_a_listen_of_duration_0_has_an_unknown_share():
    listens = [decoded(Listen, event_id=str(n), listened_ms=5, duration_ms=ms) for n, ms in enumerate((0, None, 10))]
    history = describe(fold(None, list(enumerate(listens)), lambda key: None).state, lambda key: None)["history"]
    assert sorted(row["share"] is None for row in history) == [False, True, True]


@pytest.mark.parametrize(
    "value",
    [
        b"[null]",
        b"null",
        b'{"a":1}',
        b'{"a":null',
        b'"null"',
        b'{"a":{"b":null}}',
        b"\xff null",
        b'\xef\xbb\xbf{"a":null}',
        '{"a":null}'.encode("utf-16"),
        b'{"a":null,"b":"\\ud83d"}',
        b'{"a":null,"b":' + b"9" * 5_000 + b"}",
        b'{"a":null,"b":' + b"[" * 100_000,
    ],
    ids=range(12),
)
def test_only_the_fields_of_an_object_are_dropped(value):
    assert without_nulls(value) is None


def test_the_order_of_fields_and_all_else_is_kept():
    assert (
        without_nulls(b'{"b": [null, 1.50], "a": null, "c": null, "d": "n"}', ["c"])
        == b'{"b":[null,1.5],"c":null,"d":"n"}'
    )
