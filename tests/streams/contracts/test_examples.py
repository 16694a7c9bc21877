"""The examples of the AsyncAPI document are read as readers read their topics, and tell their units."""

import base64
import json
from types import SimpleNamespace

import pytest

from sidestream.models.history import describe
from sidestream.models.records import CandidateSet, Generation, GenerationReport
from sidestream.models.records.candidates import candidate_set_id
from sidestream.streams.catalogue.decode import UpdateDecoder
from sidestream.streams.contracts.asyncapi import asyncapi
from sidestream.streams.contracts.deadletters import (
    MESSAGE_HEADER,
    REASON_HEADER,
    TIMESTAMP_HEADER,
    TOPIC_HEADER,
    dead_letter,
)
from sidestream.streams.contracts.decode import (
    Limits,
    decode_catalog_item,
    decode_listen,
    decode_session_start,
    decode_user_erasure,
)
from sidestream.streams.contracts.partitioner import PARTITIONERS
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX, build_topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.popularity.values import PART_SHIFT, changes_key, read_key, read_part, read_total_key
from sidestream.streams.tokenizing.live.reading import decode_listeners, decode_segment
from sidestream.tokenizer.live.state import decode_state
from sidestream.tokenizer.sid import item_key

TOPICS = build_topics(TopicSettings(prefix="here."))
NOW = 1_780_000_060_000
LIMITS = Limits()
UNIT = {"at": "Epoch milliseconds UTC", "ms": "milliseconds"}


@pytest.fixture(scope="module")
def document():
    return asyncapi(TOPICS)


def message_of(document, spec):
    message = document["channels"][spec.name]["messages"]["value"]
    if "$ref" in message:
        message = document["components"]["messages"][message["$ref"].rsplit("/", 1)[1]]
    return message


def read_update(key, value):
    vector = base64.b64decode(next(iter(json.loads(value)["versions"].values()))["vector"])
    update = UpdateDecoder("b5dccfb8a970", (256, 256, 256), len(vector)).decode(key, value)
    assert update.sid == (17, 203, 5)
    return update


def read_state(key, value):
    history = describe(value)["history"]
    assert history[0]["at"] == 1_780_000_000_000
    assert (history[0]["sid"], history[0]["signal"]) == ("17-203-5", "like")
    return history


def read_mark(key, value):
    mark = read_part(value)
    assert read_key(key) == (3, None)
    assert (mark.offset, mark.counts.keys.size) == (4_212, 0)
    return mark


def read_changes(key, value):
    assert key == changes_key(3)
    return read_counted(value, 4_212)


def read_total(key, value):
    assert read_total_key(key) == item_key("episode-318") >> PART_SHIFT
    return read_counted(value, 57)


def read_counted(value, offset):
    counted = read_part(value)
    assert counted.offset == offset
    assert counted.counts.keys.tolist() == [item_key("episode-318")]
    return counted


def judged(model):
    def read(key, value):
        return model.from_json(value)

    return read


READERS = {
    "listen-events.v1": lambda key, value: decode_listen(key, value, NOW),
    "session-starts.v1": lambda key, value: decode_session_start(key, value, NOW),
    "candidates.v1": judged(CandidateSet),
    "catalog-items.v1": lambda key, value: decode_catalog_item(key, value, NOW),
    "item-sids.v1": read_update,
    "user-state-changelog.v1": read_state,
    "user-erasures.v1": lambda key, value: decode_user_erasure(key, value, NOW + 3_600_000),
    "item-counts.v1": read_mark,
    "item-count-changes.v1": read_changes,
    "item-count-totals.v1": read_total,
    "live-segments.v1": lambda key, value: decode_segment(key, value, NOW, LIMITS, 60.0),
    "live-listeners.v1": lambda key, value: decode_listeners(key, value, NOW, LIMITS),
    "live-states.v1": lambda key, value: decode_state(value),
    "generations.v1": judged(Generation),
    "generation-reports.v1": judged(GenerationReport),
}


@pytest.mark.parametrize("spec", [s for s in TOPICS if not s.name.endswith(DEAD_LETTER_SUFFIX)], ids=lambda s: s.name)
def test_each_example_is_read_as_its_topic_is(document, spec):
    message = message_of(document, spec)
    (example,) = message["examples"]
    (key,) = message["bindings"]["kafka"]["key"]["examples"]
    payload = example["payload"]
    value = base64.b64decode(payload) if spec.value_model is None else json.dumps(payload).encode()
    assert READERS[spec.name.removeprefix("here.")](key.encode(), value)
    if spec.value_model is not None:
        # Nothing of it is left out by the model, and it is written as the product writes it.
        assert json.loads(spec.value_model.from_json(value).to_json()) == payload


def test_the_example_of_candidates_answers_the_example_of_a_session_start(document):
    (answer,), (start,) = (
        message_of(document, spec)["examples"] for spec in (TOPICS.candidates, TOPICS.session_starts)
    )
    found, asked = answer["payload"], start["payload"]
    assert found["candidate_set_id"] == candidate_set_id(asked["user_id"], asked["session_id"], 0)
    assert found["requested_at"] == asked["at"]
    assert len(found["candidates"]) == asked["num_candidates"]


def test_the_example_of_a_dead_letter_is_what_becomes_of_its_payload(document):
    (example,) = document["components"]["messages"]["DeadLetter"]["examples"]
    headers, value = example["headers"], example["payload"].encode()
    assert set(headers) == set(document["components"]["messages"]["DeadLetter"]["headers"]["required"])
    with pytest.raises(BadRecord) as caught:
        decode_listen(b"user-7", value, NOW)
    source = {"topic": "listen-events.v1", "partition": 3, "offset": 4_212, "timestamp": 1_780_000_000_000}
    record = SimpleNamespace(**source, key=b"user-7", value=value, headers=[])
    letter = dead_letter(record, caught.value)
    assert {name: content.decode() for name, content in letter.headers} == headers
    assert headers[REASON_HEADER] == "absurd_time"
    assert "looks like seconds" in headers[MESSAGE_HEADER]
    assert headers[TOPIC_HEADER] == "listen-events.v1"


def described(schema, name=""):
    """Every property of a schema with its description, however deep."""
    if isinstance(schema, dict):
        for field, inner in schema.get("properties", {}).items() if isinstance(schema.get("properties"), dict) else ():
            yield field, inner.get("description", "")
            yield from described(inner, field)
        for word, inner in schema.items():
            if word != "properties":
                yield from described(inner, name)
    elif isinstance(schema, list):
        for inner in schema:
            yield from described(inner, name)


def test_every_time_and_duration_says_its_unit(document):
    found = list(described(document["components"]["schemas"]))
    times = [(name, words) for name, words in found if name == "at" or name.endswith("_at")]
    durations = [(name, words) for name, words in found if name.endswith("_ms")]
    assert {"at", "published_at", "expires_at", "requested_at", "produced_at"} <= {name for name, _ in times}
    assert {"listened_ms", "duration_ms", "start_ms", "end_ms", "timings_ms"} <= {name for name, _ in durations}
    assert [name for name, words in times if "Epoch milliseconds UTC" not in words] == []
    assert [name for name, words in durations if "milliseconds" not in words] == []
    headers = document["components"]["messages"]["DeadLetter"]["headers"]["properties"]
    assert "Epoch milliseconds UTC" in headers[TIMESTAMP_HEADER]["description"]


def test_channels_whose_partition_follows_from_the_key_say_how(document):
    for spec in TOPICS:
        channel = document["channels"][spec.name]
        hashed = spec.key in ("user_id", "item_id") and not spec.name.endswith(DEAD_LETTER_SUFFIX)
        assert ("x-partitioner" in channel) == hashed
        if hashed:
            rule = channel["x-partitioner"]
            assert rule["name"] == spec.partitioner == "murmur2"
            assert "murmur2" in channel["description"]
            assert int(rule["seed"], 16) == 0x9747B28C
            assert "`wrong_partition`" in channel["description"] or spec.dead_letters is None or spec.key == "item_id"
    assert "murmur2" in document["info"]["description"]


@pytest.mark.parametrize("name", PARTITIONERS)
def test_the_document_names_the_configured_partitioner(name):
    topics = build_topics(TopicSettings(partitioner=name))
    document = asyncapi(topics)
    assert f"partitioned by {name} over" in document["info"]["description"]
    channel = document["channels"][topics.listens.name]
    assert channel["x-partitioner"]["name"] == name
    assert name in channel["x-partitioner"]["partition"]
    assert f"is {name} of" in channel["description"]
    assert name in channel["messages"]["value"]["bindings"]["kafka"]["key"]["description"]


def test_the_document_is_of_3_1_and_holds_nothing_but_plain_values(document):
    assert document["asyncapi"] == "3.1.0"
    assert json.loads(json.dumps(document)) == document
