"""What `tail` says of each topic, and that odd records never end it."""

import pytest

from sidestream.streams.cli.views.tail import view_of
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.kafka.tail import TopicRecord
from tests.streams.cli.views.every_view import TOPICS, records

AT = 1_796_045_950_471


def row(topic, value, key=b"k", titles=None):
    return view_of(topic).row(TopicRecord(3, 7, AT, key, value, ()), titles or {})


def test_a_listen_says_who_heard_what() -> None:
    value = b'{"user_id":"u","item_id":"i","listened_ms":90000,"duration_ms":120000,"at":5}'
    found = row("listen-events.v1", value, titles={"i": "So What"})
    assert (found["user"], found["item"], found["title"], found["signal"], found["heard"]) == (
        "u",
        "i",
        "So What",
        "listen",
        "75%",
    )
    assert (found["time"], found["place"]) == (AT, "3:7")


def test_an_answer_says_its_first_candidates_by_title_and_its_fallback() -> None:
    value = b'{"user_id":"u","candidates":[{"item_id":"a"},{"item_id":"b"},{"item_id":"c"},{"item_id":"d"}],'
    value += b'"fallback":{"reason":"no_history"},"timings_ms":{"total":9.5}}'
    found = row("candidates.v1", value, titles={"a": "So What"})
    assert found["titles"] == "So What · b · c …"
    assert (found["fallback"], found["count"], found["total_ms"]) == ("no_history", 4, 9.5)


def test_sids_say_version_and_title() -> None:
    value = b'{"item_id":"i","title":"T","versions":{"abc":{"sid":[1,2,3]}},"kind":"track"}'
    found = row("item-sids.v1", value)
    assert (found["item"], found["title"], found["sid"], found["version"]) == ("i", "T", "1-2-3", "abc")


@pytest.mark.parametrize("topic", TOPICS)
def test_whatever_lies_on_a_topic_gets_a_row(topic) -> None:
    view = view_of(topic)
    odd = [
        b"",
        b"null",
        b"3",
        b"{}",
        b"[[]]",
        b'{"item_id":{}}',
        b"[" * 9_999,
        b'{"listened_ms":1e999,"duration_ms":1}',
    ]
    odd.append(b'{"user_id":"u","item_id":"i","listened_ms":%d,"duration_ms":1}' % 10**400)
    for record in [*records(topic, "x"), *(TopicRecord(0, 0, -1, None, value, ()) for value in odd)]:
        found = view.row(record, {})
        assert found["place"]
        assert found["time"] is None or found["time"] == record.timestamp


@pytest.mark.parametrize("topic", TOPICS)
def test_a_record_that_cannot_be_read_says_why(topic) -> None:
    value = Unreadable("name of header 1", 7, "value", b"{}", b"key")
    found = view_of(topic).row(TopicRecord(3, 7, AT, None, value, ()), {})
    assert (found["key"], found["place"]) == ("key", "3:7")
    assert any("cannot be read: name of header 1" in str(said) for said in found.values())


def test_a_removal_is_said() -> None:
    assert row("item-sids.v1", None)["title"] == "(removed)"
    assert row("somebody-elses.topic", None)["value"] == "(removed)"
    assert row("item-counts.v1", b"\x00" * 1_234)["value"] == "1,234 bytes"
