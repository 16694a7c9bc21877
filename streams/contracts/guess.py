r"""Hints about malformed records, so that operators see a producer's mistake without decoding bytes by hand.

A hint decides nothing: the reason code remains the decoder's. Hints depend on the bytes alone and never raise.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from sidestream.models.records.times import event_time_fault, expiry_time_fault, published_time_fault

# Of larger values only the beginning is examined.
MAX_PARSED_BYTES = 1 << 20
MAX_NAMED_FIELDS = 3

_FRAME_BYTES = 5  # magic byte and schema id
_MAGIC = (
    (b"\xef\xbb\xbf", "begins with a UTF-8 byte order mark"),
    (b"\xff\xfe", "looks like UTF-16 text; expected UTF-8"),
    (b"\xfe\xff", "looks like UTF-16 text; expected UTF-8"),
    (b"\x1f\x8b", "looks like gzip; expected JSON (compress with the producer's compression.type instead)"),
    (b"\x28\xb5\x2f\xfd", "looks like zstd; expected JSON (compress with the producer's compression.type instead)"),
    (b"Obj\x01", "looks like an Avro file; expected JSON"),
    (b"\xac\xed\x00\x05", "looks like a serialized Java object; expected JSON"),
    (b"\x80\x04\x95", "looks like a Python pickle; expected JSON"),
    (b"\x80\x05\x95", "looks like a Python pickle; expected JSON"),
)
_SURROGATE = re.compile(rb"\\u(d[89ab][0-9a-f]{2})(\\u(d[c-f][0-9a-f]{2}))?|\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)
_SURROGATE_BYTES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_NOT_A_NUMBER = re.compile(rb"[:\[,]\s*-?(NaN|Infinity)\b")
_BARE_WORD = re.compile(rb"[:\[,]\s*(None|True|False)\b")
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
    return "; ".join(hint for hint in hints if hint not in message)


def _of_value(value: bytes) -> list[str]:
    if (schema := _schema_id(value)) is not None:
        inside = f"; the JSON begins at byte {_FRAME_BYTES}" if value[_FRAME_BYTES] == ord("{") else ""
        return [f"looks like a Schema-Registry frame (magic byte 0, schema id {schema}){inside}"]
    for magic, words in _MAGIC:
        if value.startswith(magic):
            return [words]
    head = value[:MAX_PARSED_BYTES]
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        return _of_bytes(head, error)
    if lone := _lone_surrogate(head):
        return [f"a lone surrogate ({lone}) is not valid UTF-8 text"]
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _of_text(text)
    return _of_json(found)


def _schema_id(raw: bytes) -> int | None:
    """Read the schema id of a frame; ids start at 1."""
    if raw[:1] != b"\x00" or len(raw) <= _FRAME_BYTES:
        return None
    return int.from_bytes(raw[1:_FRAME_BYTES]) or None


def _of_bytes(value: bytes, error: UnicodeDecodeError) -> list[str]:
    if _SURROGATE_BYTES.match(value, error.start):
        return ["a lone surrogate is not valid UTF-8 text"]
    # A single invalid byte in text: the producer writes an 8-bit character set.
    if value[:1] in (b"{", b"[") and b"\x00" not in value:
        return ["looks like ISO 8859-1 or Windows-1252 text; expected UTF-8"]
    return ["looks like binary data; expected JSON"] if b"\x00" in value else []


def _lone_surrogate(value: bytes) -> str:
    for found in _SURROGATE.finditer(value):
        escaped = len(value[: found.start()]) - len(value[: found.start()].rstrip(b"\\"))
        if found[2] is None and escaped % 2 == 0:
            return f"\\u{(found[1] or found[4]).decode().lower()}"
    return ""


def _refuse_constant(name: str) -> Any:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _of_text(text: str) -> list[str]:
    raw = text.encode()
    if found := _NOT_A_NUMBER.search(raw):
        return [f"{found[1].decode()} is not JSON; write null or leave the field out"]
    if text.lstrip().startswith("{'") or (text.lstrip().startswith("{") and _BARE_WORD.search(raw)):
        return ["looks like the printed form of a Python dict; expected JSON"]
    if text.lstrip().startswith("<"):
        return ["looks like XML; expected JSON"]
    try:
        _, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return []
    return ["several JSON values in one record; expected one"] if text.lstrip()[end:].strip() else []


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
    if (schema := _schema_id(key)) is not None:
        return [f"the key looks like a Schema-Registry frame (magic byte 0, schema id {schema})"]
    if len(key) > 1 and key[:1] == key[-1:] == b'"':
        return ["the key is JSON-quoted; expected the bare id"]
    if key[:1] == b"{" and key[-1:] == b"}":
        return ["the key is a JSON object; expected the bare id"]
    if key != key.strip():
        return ["the key has spaces around it"]
    return []
