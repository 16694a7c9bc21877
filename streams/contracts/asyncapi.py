"""AsyncAPI 3.0 document of all topics, generated from the specs and models that the worker uses.

It is meant for programs: topic catalogues, client generators, checks of producers in other languages. `deploy/` holds
the document for the default names and sizes; `sidestream topics asyncapi` prints it for the current settings.

Source: AsyncAPI 3.0.0, Kafka bindings 0.5.0.
"""

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
from sidestream.streams.contracts.topics import DEAD_LETTER_SUFFIX, KeyField, Topics, TopicSpec

_BINDING = {"bindingVersion": "0.5.0"}
_DEAD_LETTER = "DeadLetter"
_KEYS: dict[KeyField, str] = {
    "user_id": "The value's user_id; partition by murmur2.",
    "item_id": "The value's item_id; partition by murmur2.",
    "version": "The tokenizer version.",
    "worker": "worker/NAME, or partition/VERSION/NUMBER.",
    "count_part": "PARTITION/PART of the listens that are counted.",
}
_HEADERS = {
    TOPIC_HEADER: "Where the record was read; headers before this one are its own.",
    PARTITION_HEADER: "Its partition there.",
    OFFSET_HEADER: "Its offset there.",
    TIMESTAMP_HEADER: "Its Kafka timestamp, epoch ms.",
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
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sidestream",
            "version": version("sidestream"),
            "description": "Listens, catalogue items and session-starts in, candidates out. Unknown fields are ignored,"
            " changes inside a topic version are additive. Topics without an operation are Sidestream's own.",
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
    return {
        "address": spec.name,
        "messages": {"value": _message(spec)},
        "bindings": {"kafka": binding},
    }


def _message(spec: TopicSpec) -> dict[str, Any]:
    if spec.name.endswith(DEAD_LETTER_SUFFIX):
        return {"$ref": f"#/components/messages/{_DEAD_LETTER}"}
    key = {"type": "string", "minLength": 1, "description": _KEYS[spec.key]}
    message: dict[str, Any] = {"bindings": {"kafka": {"key": key, **_BINDING}}}
    if spec.value_model is None:
        return {"title": "Bytes", "contentType": "application/octet-stream", **message}
    model = spec.value_model
    payload: dict[str, Any] = {"$ref": f"#/components/schemas/{model.__name__}"}
    if spec.compacted:
        payload = {"oneOf": [payload, {"type": "null", "description": "Removes the key."}]}
    return {"title": model.__name__, "summary": (model.__doc__ or "").splitlines()[0], "payload": payload, **message}


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
