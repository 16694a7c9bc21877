"""AsyncAPI 3.1 document of all topics, generated from the specs and models that the worker uses.

It is meant for programs: topic catalogues, client generators, checks of producers in other languages. `deploy/` holds
the document for the default names and sizes; `sidestream topics asyncapi` prints it for the current settings.

Every message has an example, every time and duration its unit, and every channel whose partition follows from the key
says how, as the extension `x-partitioner`.

Source: AsyncAPI 3.1.0, Kafka bindings 0.5.0.
"""

import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from sidestream.streams.contracts.deadletters import (
    EXCEPTION_HEADER,
    MESSAGE_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    TIMESTAMP_HEADER,
    TOPIC_HEADER,
)
from sidestream.streams.contracts.decode import Reason
from sidestream.streams.contracts.examples import (
    BYTES_EXAMPLES,
    KEY_EXAMPLES,
    LIVE_KEY_EXAMPLE,
    dead_letter_example,
    record_example,
)
from sidestream.streams.contracts.settings import PartitionerName
from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX, KeyField, Topics, TopicSpec

_BINDING = {"bindingVersion": "0.5.0"}
_DEAD_LETTER = "DeadLetter"
_KEYS: dict[KeyField, str] = {
    "user_id": "The value's user_id, UTF-8; its {} hash gives the partition.",
    "item_id": "The value's item_id, UTF-8; its {} hash gives the partition.",
    "version": "The tokenizer version.",
    "worker": "worker/NAME, or partition/VERSION/NUMBER.",
    "count_part": "PARTITION/offset: up to where a partition of the listens is counted; written to the partition that "
    "it names. Older releases wrote counts there, as PARTITION/PART.",
    "counted_partition": "Number of the partition of the listens; the record's partition is a range of item keys.",
    "total_part": "First byte of the items' keys, in two hex digits; the record's partition is a range of item keys.",
}
_PARTITIONERS: dict[PartitionerName, dict[str, str]] = {
    "murmur2": {
        "partition": "(murmur2(key) & 0x7fffffff) % number of partitions",
        "seed": "0x9747b28c",
        "sameAs": "the default of Apache Kafka's Java producer",
        "librdkafka": "partitioner=murmur2_random (its default is another: CRC-32)",
    },
    "crc32": {
        "partition": "crc32(key) % number of partitions",
        "sameAs": "the default of librdkafka",
        "librdkafka": "partitioner=consistent_random (its default)",
    },
    "fnv1a": {
        "partition": "abs(int32(fnv1a(key))) % number of partitions",
        "sameAs": "NewHashPartitioner of Sarama",
        "librdkafka": "partitioner=fnv1a_random (its default is another: CRC-32)",
    },
}
_DESCRIPTION = """\
Listens, catalogue items and session-starts in, candidates out. Unknown fields are ignored, changes inside a topic \
version are additive. Topics without an operation are Sidestream's own.

Times are epoch milliseconds UTC, as JSON integers; fields that end in `_ms` are durations in milliseconds. Times of \
events lie between 2000-01-01 and 2100-01-01: others are dead letters of reason `absurd_time`.

Records with a key are partitioned by {name} over the key's bytes, {sameAs}: `{partition}`. librdkafka needs \
`{librdkafka}` for it. A record keyed by user in another partition is a dead letter of reason `wrong_partition`.
"""
_HEADERS = {
    TOPIC_HEADER: "Where the record was read; headers before this one are its own.",
    PARTITION_HEADER: "Its partition there.",
    OFFSET_HEADER: "Its offset there.",
    TIMESTAMP_HEADER: "Its Kafka timestamp. Epoch milliseconds UTC, as text.",
    EXCEPTION_HEADER: "Class of the error.",
    MESSAGE_HEADER: "What was expected and what was found.",
}


def asyncapi(topics: Topics) -> dict[str, Any]:
    """Describe all topics of an installation.

    Args:
        topics: The installation's topics.

    Returns:
        The document: only dicts, lists, strings, numbers and booleans.
    """
    reads = (topics.listens, topics.session_starts, topics.catalog_items, topics.user_erasures, topics.live_segments)
    writes = (topics.candidates, topics.item_sids, *topics.dead_letters)
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Sidestream",
            "version": version("sidestream"),
            "description": _description(topics.listens.partitioner),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {spec.name: _channel(spec) for spec in topics},
        "operations": dict([*_operations("receive", reads), *_operations("send", writes)]),
        "components": {"schemas": _schemas(topics), "messages": {_DEAD_LETTER: _dead_letter()}},
    }


def _channel(spec: TopicSpec) -> dict[str, Any]:
    configuration: dict[str, Any] = {
        name: [value] if name == "cleanup.policy" else int(value) for name, value in spec.config.items()
    }
    binding = {"partitions": spec.partitions, "topicConfiguration": configuration, **_BINDING}
    # Of dead letters the partition says nothing: readers take all of them.
    if spec.key not in ("user_id", "item_id") or spec.name.endswith(DEAD_LETTER_SUFFIX):
        return {"address": spec.name, "messages": {"value": _message(spec)}, "bindings": {"kafka": binding}}
    return {
        "address": spec.name,
        "description": _partition_note(spec),
        "messages": {"value": _message(spec)},
        "bindings": {"kafka": binding},
        "x-partitioner": {
            "name": spec.partitioner,
            "input": "the bytes of the record key",
            **_PARTITIONERS[spec.partitioner],
        },
    }


def _description(partitioner: PartitionerName) -> str:
    return _DESCRIPTION.format(name=partitioner, **_PARTITIONERS[partitioner])


def _partition_note(spec: TopicSpec) -> str:
    rule = f"The partition is {spec.partitioner} of the key's bytes, {_PARTITIONERS[spec.partitioner]['sameAs']}."
    if spec.key == "user_id" and spec.dead_letters is not None:
        return f"{rule} A record in another partition is a dead letter of reason `wrong_partition`."
    return f"{rule} A record in another partition does not meet the state of its key."


def _message(spec: TopicSpec) -> dict[str, Any]:
    if spec.name.endswith(DEAD_LETTER_SUFFIX):
        return {"$ref": f"#/components/messages/{_DEAD_LETTER}"}
    key = {
        "type": "string",
        "minLength": 1,
        "description": _KEYS[spec.key].format(spec.partitioner),
        "examples": [_key_example(spec)],
    }
    message: dict[str, Any] = {"bindings": {"kafka": {"key": key, **_BINDING}}}
    if spec.value_model is None:
        value = next(value for name, value in BYTES_EXAMPLES.items() if spec.name.endswith(name))
        example = {"name": "value", "summary": "The value's bytes, as base64.", "payload": value}
        return {"title": "Bytes", "contentType": "application/octet-stream", "examples": [example], **message}
    model = spec.value_model
    payload: dict[str, Any] = {"$ref": f"#/components/schemas/{model.__name__}"}
    if spec.compacted:
        payload = {"oneOf": [payload, {"type": "null", "description": "Removes the key."}]}
    example = {"name": "value", "payload": json.loads(record_example(model).to_json())}
    summary = (model.__doc__ or "").splitlines()[0]
    return {"title": model.__name__, "summary": summary, "payload": payload, "examples": [example], **message}


def _key_example(spec: TopicSpec) -> str:
    """Give the key of the example: of values that hold it, what they hold."""
    if spec.value_model is not None and spec.key in spec.value_model.model_fields:
        return str(getattr(record_example(spec.value_model), spec.key))
    return LIVE_KEY_EXAMPLE if spec.name.endswith("live-states.v1") else KEY_EXAMPLES[spec.key]


def _dead_letter() -> dict[str, Any]:
    described = {name: {"type": "string", "description": meaning} for name, meaning in _HEADERS.items()}
    reason = {"type": "string", "enum": [reason.value for reason in Reason]}
    headers = {
        "type": "object",
        "properties": {**described, REASON_HEADER: reason},
        "required": [*described, REASON_HEADER],
    }
    return {
        "title": "Dead letter",
        "summary": "A record that could not be read: key, bytes and headers as they came, and why.",
        "contentType": "application/octet-stream",
        "headers": headers,
        "examples": [{"name": "seconds", "summary": "A listen whose time is in seconds.", **dead_letter_example()}],
        "bindings": {"kafka": {"key": {"description": "The record's own, if it had one."}, **_BINDING}},
    }


def _operations(action: str, specs: Iterable[TopicSpec]) -> Iterable[tuple[str, dict[str, Any]]]:
    for spec in specs:
        channel = {"$ref": f"#/channels/{spec.name}"}
        yield f"{action} {spec.name}", {"action": action, "channel": channel}


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        """Leave out titles of fields, which only repeat their names."""
        return False


def _schemas(topics: Topics) -> dict[str, Any]:
    mode: JsonSchemaMode = "validation"
    models = [(spec.value_model, mode) for spec in topics if spec.value_model is not None]
    place = "#/components/schemas/{model}"
    _, schemas = models_json_schema(models, ref_template=place, schema_generator=_WithoutTitles)
    return dict(sorted(schemas["$defs"].items()))
