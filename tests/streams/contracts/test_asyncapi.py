import pytest

from sidestream.streams.contracts.asyncapi import asyncapi
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics

TOPICS = build_topics(TopicSettings(prefix="here.", user_partitions=3))


@pytest.fixture
def document():
    return asyncapi(TOPICS)


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_topic_is_a_channel_with_its_name_size_and_policy(document):
    assert list(document["channels"]) == [spec.name for spec in TOPICS]
    for spec in TOPICS:
        binding = document["channels"][spec.name]["bindings"]["kafka"]
        configuration = binding["topicConfiguration"]
        assert binding["partitions"] == spec.partitions
        assert (configuration.get("cleanup.policy") == ["compact"]) == spec.compacted
        assert configuration.keys() == spec.config.keys()


def test_every_reference_resolves(document):
    found = set(references(document))
    assert {"#/components/schemas/Listen", "#/components/schemas/Candidate", "#/channels/here.candidates.v1"} <= found
    for reference in found:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_values_have_the_schemas_of_the_models_and_only_compacted_topics_allow_null(document):
    for spec in TOPICS:
        message = document["channels"][spec.name]["messages"]["value"]
        if spec.value_model is None:
            assert "payload" not in message
            continue
        value = {"$ref": f"#/components/schemas/{spec.value_model.__name__}"}
        options = message["payload"].get("oneOf", [message["payload"]])
        assert options[0] == value
        assert (len(options) == 2 and options[1]["type"] == "null") == spec.compacted
    listen = document["components"]["schemas"]["Listen"]
    assert listen["required"] == ["event_id", "user_id", "item_id", "at"]
    # A field named title is kept, while titles that only repeat names are left out.
    assert "title" in document["components"]["schemas"]["CatalogItem"]["properties"]
    assert "title" not in listen["properties"]["at"]


def test_operations_match_who_writes_and_who_reads(document):
    operations = document["operations"]
    assert operations["receive here.session-starts.v1"]["action"] == "receive"
    assert operations["send here.candidates.v1"]["action"] == "send"
    assert "send here.listen-events.v1.dlq" in operations
    assert not any("changelog" in name for name in operations)
