"""What `send` reads: JSON, files and standard input; a bad line says where it is and what was published before it."""

import gzip
import io
import json
import sys

import pytest

from sidestream.models.records import CatalogItem
from sidestream.streams.cli.records.sending import FLUSH_EVERY, events_of, publish_all, warn_of_expired
from sidestream.streams.errors import BrokerError, DataError, SettingsError
from sidestream.streams.settings import Settings

SETTINGS = Settings()
LISTENS = [{"user_id": "u", "item_id": f"i{number}"} for number in range(4)]
LINES = "\n".join(map(json.dumps, LISTENS))


def items(value):
    return [record.item_id for record in events_of("listen", value, SETTINGS)]


def stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize(
    "data",
    [
        LINES.encode(),
        b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n\r\n").encode(),
        json.dumps(LISTENS, indent=1).encode(),
        gzip.compress(LINES.encode()),
    ],
    ids=["lines", "bom crlf blank", "array", "gzip"],
)
def test_a_file_and_standard_input_are_read_alike(tmp_path, monkeypatch, data):
    (tmp_path / "events").write_bytes(data)
    assert items(str(tmp_path / "events")) == ["i0", "i1", "i2", "i3"]
    stdin(monkeypatch, data)
    assert items("-") == ["i0", "i1", "i2", "i3"]


def test_one_event_is_given_as_it_is():
    assert items(json.dumps(LISTENS[0])) == ["i0"]
    with pytest.raises(SettingsError, match="item_id"):
        items('{"user_id": "u"}')
    with pytest.raises(
        SettingsError, match="expected a JSON object, a file or - for stdin, got 'lisen', which is no file"
    ):
        items("lisen")


def test_items_that_were_expired_already_are_told_at_the_end_once():
    now_ms = 1_790_000_000_000
    expiries = {"a": now_ms, "b": now_ms + 1, "c": None, "d": 1_500_000_000_000}
    sent = [CatalogItem(item_id=name, kind="track", at=now_ms, expires_at=at) for name, at in expiries.items()]
    told = []
    passed = warn_of_expired(sent, told.append, now_ms)
    assert [next(passed) for _ in sent] == sent
    assert told == []
    assert list(passed) == []
    assert told == [
        "warning: no candidates, because their expires_at has passed: a (2026-09-21 14:13:20 UTC), and 1 more"
    ]
    assert list(warn_of_expired(sent[1:3], told.append, now_ms)) == sent[1:3]
    assert len(told) == 1


BAD = LINES.replace('{"user_id": "u", "item_id": "i2"}', '\n{"user_id": "u"}')


def test_a_bad_line_of_a_file_publishes_nothing(tmp_path):
    (tmp_path / "events").write_text(BAD)
    published = []
    with pytest.raises(
        SettingsError, match=r"events:4: listen: item_id: expected a value, got none; .*; nothing was published"
    ):
        published.extend(events_of("listen", str(tmp_path / "events"), SETTINGS))
    assert published == []


def test_a_bad_line_of_standard_input_says_what_was_published(monkeypatch):
    stdin(monkeypatch, BAD.encode())
    published = []
    with pytest.raises(SettingsError, match=r"stdin:4: listen: .*; the 2 events before it were published"):
        published.extend(events_of("listen", "-", SETTINGS))
    assert len(published) == 2
    stdin(monkeypatch, b"[" + LINES.replace("\n", ",\n").encode() + b",\n oops]")
    with pytest.raises(DataError, match=r"stdin:5: expected JSON .*; the 4 events before it were published"):
        list(events_of("listen", "-", SETTINGS))
    stdin(monkeypatch, b'{"user_id": "\xff"}\n')
    with pytest.raises(SettingsError, match=r"stdin:1: expected UTF-8, got byte ff in .*; nothing was published"):
        list(events_of("listen", "-", SETTINGS))


def test_a_delivery_that_fails_says_how_much_is_there():
    flushed = []

    def flush():
        flushed.append(None)
        if len(flushed) == 3:
            raise BrokerError("gone")

    records = list(events_of("listen", json.dumps(LISTENS[0]), SETTINGS)) * (3 * FLUSH_EVERY)
    assert publish_all(records[:2], lambda record: None, lambda: None) == 2
    with pytest.raises(BrokerError, match="gone; the first 2,000 events were published, and some of the 1,000 after"):
        publish_all(records, lambda record: None, flush)
