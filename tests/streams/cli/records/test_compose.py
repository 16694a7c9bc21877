import re

import pytest

from sidestream.models.records import Listen, LiveSegment
from sidestream.streams.cli.records.compose import parse_event
from sidestream.streams.errors import SettingsError
from sidestream.streams.settings import Settings

SETTINGS = Settings()


def test_events_are_completed():
    listen = parse_event("listen", '{"user_id": "u", "item_id": "i"}', SETTINGS)
    assert isinstance(listen, Listen)
    assert listen.event_id
    assert listen.at > 0
    segment = parse_event("segment", '{"item_id": "i", "start_ms": 0, "end_ms": 5, "text": "t"}', SETTINGS)
    assert isinstance(segment, LiveSegment)
    assert segment.at > 0
    assert parse_event("session-start", '{"user_id": "u"}', SETTINGS).session_id
    assert parse_event("item", '{"item_id": "i", "kind": "track"}', SETTINGS).at > 0


@pytest.mark.parametrize(
    ("what", "line", "part"),
    [
        ("listen", '{"user_id": "u"}', "item_id"),
        ("listen", "[1]", "listen"),
        ("listen", "{", "JSON"),
        # Well formed, and yet dead letters: these went out with a cheerful offset.
        ("segment", '{"item_id": "i", "start_ms": 10, "end_ms": 5, "text": "t"}', "empty span"),
        ("segment", '{"item_id": "i", "start_ms": 0, "end_ms": 5, "text": " "}', "empty text"),
        ("segment", '{"item_id": "i", "start_ms": 0, "end_ms": 900000, "text": "t"}', "at most 600 s"),
        ("segment", '{"item_id": "i", "start_ms": 0, "end_ms": 5, "text": "t", "field": "plot"}', "dialogue"),
        ("item", '{"item_id": "i", "kind": "track", "segments": [{"start_ms": 9, "end_ms": 9, "text": "t"}]}', "span"),
        ("item", '{"item_id": "i", "kind": "track", "description": "%s"}' % ("x" * 300_000), "at most 262144 bytes"),
        ("listen", '{"user_id": "u", "item_id": "i", "at": 4000000000000}', "after the record's timestamp"),
        ("session-start", '{"user_id": "u", "at": 4000000000000}', "after the record's timestamp"),
        ("listen", '{"user_id": "u", "item_id": "i", "at": 1780000000}', "at: 1780000000 looks like seconds"),
        ("session-start", '{"user_id": "u", "at": 1780000000000000}', "looks like microseconds"),
        ("segment", '{"item_id": "i", "start_ms": 0, "end_ms": 5, "text": "t", "at": 1780000000}', "like seconds"),
        ("item", '{"item_id": "i", "kind": "track", "at": 1780000000000000000}', "looks like nanoseconds"),
        ("item", '{"item_id": "i", "kind": "track", "published_at": 1780000001}', "published_at: .* like seconds"),
        ("item", '{"item_id": "i", "kind": "track", "expires_at": 1780000001}', "expires_at: .* like seconds"),
    ],
)
def test_what_workers_would_bury_is_refused(what, line, part):
    with pytest.raises(SettingsError, match=part):
        parse_event(what, line, SETTINGS)


@pytest.mark.parametrize(
    ("what", "line", "part"),
    [
        ("session-start", '{"user_id": "u", "kind": ["track"]}', "kind: unknown field, did you mean kinds?"),
        ("item", '{"item_id": "i", "kind": "track", "titel": "T"}', "titel: unknown field, did you mean title?"),
        ("listen", '{"user_id": "u", "itemId": "i"}', "itemId: unknown field, did you mean item_id?"),
        (
            "segment",
            '{"item_id": "i", "start": 0, "end_ms": 5, "text": "t"}',
            "start: unknown field, did you mean start_ms?",
        ),
        (
            "item",
            '{"item_id": "i", "kind": "track", "segments": [{"start_ms": 0, "end_ms": 9, "text": "t", "feild": "x"}]}',
            "segments.0.feild: unknown field, did you mean field?",
        ),
        (
            "listen",
            '{"user_id": "u", "item_id": "i", "mood": 1}',
            "mood: unknown field; there are schema_version, event_id",
        ),
    ],
)
def test_a_misspelt_field_is_told_with_what_was_meant(what, line, part):
    with pytest.raises(SettingsError, match=re.escape(part)) as refused:
        parse_event(what, line, SETTINGS)
    assert "--ignore-unknown" in str(refused.value)


def test_unknown_fields_are_left_out_if_asked_for():
    line = '{"user_id": "u", "item_id": "i", "mood": 1}'
    assert b"mood" not in parse_event("listen", line, SETTINGS, ignore_unknown=True).to_json()


def test_the_option_of_send_leaves_unknown_fields_out(sidestream, tmp_path):
    (tmp_path / "listens").write_text('{"user_id": "u", "item_id": "i", "mood": 1}\n')
    assert "listens:1: listen: mood: unknown field" in sidestream("send", "listen", "listens", code=1).err
    assert "no Kafka answers" in sidestream("send", "listen", "listens", "--ignore-unknown", code=1).err


def test_items_of_any_year_that_never_expire_are_taken():
    line = '{"item_id": "i", "kind": "track", "published_at": -315619200000, "expires_at": 253402300799000}'
    item = parse_event("item", line, SETTINGS)
    assert (item.published_at, item.expires_at) == (-315_619_200_000, 4_102_444_800_000)
