"""Hints about malformed records, so that operators see a producer's mistake without decoding bytes by hand.

A hint decides nothing: the reason code remains the decoder's. Hints depend on the bytes alone and never raise. What is
not JSON at all is recognised by `models/records/malformed.py`, for files too.
"""

import json
from collections.abc import Callable
from typing import Any

from sidestream.models.records.malformed import MAX_PARSED_BYTES, malformed, schema_id
from sidestream.models.records.times import event_time_fault, expiry_time_fault, published_time_fault

MAX_NAMED_FIELDS = 3
MAX_HINT_CHARS = 300

_TIMES: dict[str, Callable[[Any], str | None]] = {
    "at": event_time_fault,
    "published_at": published_time_fault,
    "expires_at": expiry_time_fault,
}
_FIELDS = ("event_id", "user_id", "item_id", "session_id", "erasure_id", "at", "listened_ms", "duration_ms")


def guess(key: bytes | None, value: bytes | None, message: str = "") -> str:
    """Guess what is wrong with a malformed record.

    Args:
        key: Record key.
        value: Record value.
        message: The decoder's error; hints that it already contains are omitted.

    Returns:
        One line; "" if nothing is recognised.
    """
    hints = [*_of_value(value or b""), *_of_key(key or b"")]
    found = "; ".join(hint for hint in hints if hint not in message)
    return found if len(found) <= MAX_HINT_CHARS else found[: MAX_HINT_CHARS - 1] + "…"


def _of_value(value: bytes) -> list[str]:
    if found := malformed(value).guess:
        return [found]
    try:
        return _of_json(json.loads(value[:MAX_PARSED_BYTES]))
    except (ValueError, RecursionError):
        return []


def _of_json(found: Any) -> list[str]:
    if isinstance(found, str):
        return ["JSON inside a JSON string: encoded twice"] if found.lstrip()[:1] in ("{", "[") else []
    if isinstance(found, list):
        return [f"a JSON list of {len(found)}; expected one object per record"]
    if not isinstance(found, dict):
        return []
    return envelope if (envelope := _envelope(found)) else [*_names(found), *_times(found)]


def _envelope(found: dict[str, Any]) -> list[str]:
    payload = found.get("payload")
    is_connect = "schema" in found and "payload" in found
    inner = payload if is_connect and isinstance(payload, dict) else found
    if "op" in inner and ("after" in inner or "before" in inner):
        where = "payload.after" if is_connect else "after"
        return [f"looks like a Debezium envelope; the record is its {where} (use the ExtractNewRecordState transform)"]
    if is_connect:
        return [
            "looks like a Kafka-Connect envelope; the record is its payload (set value.converter.schemas.enable=false)"
        ]
    if {"specversion", "source", "type"} <= found.keys():
        return ["looks like a CloudEvents envelope; the record is its data"]
    return []


def _names(found: dict[str, Any]) -> list[str]:
    by_plain_name = {name.replace("_", "").lower(): name for name in found}
    wrong = [(by_plain_name[plain], name) for name in _FIELDS if (plain := name.replace("_", "")) in by_plain_name]
    pairs = [f"{got} for {name}" for got, name in wrong if got != name and name not in found]
    return [f"field names are spelled differently: {', '.join(pairs[:MAX_NAMED_FIELDS])}"] if pairs else []


def _times(found: dict[str, Any]) -> list[str]:
    hints = []
    for name, fault_of in _TIMES.items():
        at = found.get(name)
        if isinstance(at, str):
            hints.append(f"{name} is text; expected UTC epoch milliseconds as a number")
        elif isinstance(at, int | float) and not isinstance(at, bool) and (fault := fault_of(at)):
            hints.append(f"{name}: {fault}")
    return hints


def _of_key(key: bytes) -> list[str]:
    if (schema := schema_id(key)) is not None:
        return [f"the key looks like a Schema-Registry frame (magic byte 0, schema id {schema}); expected the bare id"]
    if len(key) > 1 and key[:1] == key[-1:] == b'"':
        return ["the key is JSON-quoted; expected the bare id"]
    if key[:1] == b"{" and key[-1:] == b"}":
        return ["the key is a JSON object; expected the bare id"]
    if key != key.strip():
        return ["the key has spaces around it"]
    return []
