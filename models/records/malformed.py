r"""What bytes that are not JSON look like, for dead letters, imports and `sidestream send`: one rule.

A guess decides nothing: it names the mistake of a producer or an exporter, so that nobody has to decode bytes by hand.
It depends on the bytes alone and never raises.
"""

import json
import re
from typing import Any, NamedTuple

# Of larger values only the beginning is examined.
MAX_PARSED_BYTES = 1 << 20
# Field numbers of messages that people write, and a number of fields that is no accident.
_MOST_FIELDS = 200
_LEAST_FIELDS = 2
_ENOUGH_FIELDS = 1_000
FRAME_BYTES = 5  # magic byte and schema id

_COMPRESSED = "; expected JSON (compress with the producer's compression.type instead)"
_MAGIC = (
    (b"\xef\xbb\xbf", "begins with a UTF-8 byte order mark"),
    (b"\xff\xfe", "looks like UTF-16 text; expected UTF-8"),
    (b"\xfe\xff", "looks like UTF-16 text; expected UTF-8"),
    (b"\x1f\x8b", "looks like gzip" + _COMPRESSED),
    (b"\x28\xb5\x2f\xfd", "looks like zstd" + _COMPRESSED),
    (b"\x04\x22\x4d\x18", "looks like lz4" + _COMPRESSED),
    (b"\x82SNAPPY\x00", "looks like snappy" + _COMPRESSED),
    (
        b"\xff\x06\x00\x00sNaPpY",
        "looks like snappy" + _COMPRESSED,
    ),
    (b"Obj\x01", "looks like an Avro file; expected JSON"),
    (b"\xc3\x01", "looks like an Avro record (single-object encoding); expected JSON"),
    (b"\xac\xed\x00\x05", "looks like a serialized Java object; expected JSON"),
    (b"\x80\x04\x95", "looks like a Python pickle; expected JSON"),
    (b"\x80\x05\x95", "looks like a Python pickle; expected JSON"),
)
_SURROGATE = re.compile(rb"\\u(d[89ab][0-9a-f]{2})(\\u(d[c-f][0-9a-f]{2}))?|\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)
_SURROGATE_BYTES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_NOT_A_NUMBER = re.compile(r"[:\[,]\s*-?(NaN|Infinity)\b")
_BARE_WORD = re.compile(r"[:\[,]\s*(None|True|False)\b")
_BRACKETS = re.compile(r"[\[\]{}<>]")
_DELIMITERS = re.compile(r"[,;\t|]")
# Never in text: all control characters but tab and line ends.
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
PROTOBUF = "looks like a Protobuf message; expected JSON"
BINARY = "looks like binary data, such as Avro or MessagePack; expected JSON"
EIGHT_BIT = "looks like ISO 8859-1 or Windows-1252 text"
CSV_GUESS = "looks like CSV; expected JSON"
_BACKSLASH = ord("\\")
_LONE_SURROGATE = "is not valid UTF-8 text"


class Malformed(NamedTuple):
    """What is wrong with bytes that are not JSON.

    Attributes:
        guess: One line; "" if nothing is recognised.
        at: Character at which it is, from 0; None if unknown.
    """

    guess: str = ""
    at: int | None = None


def malformed(value: bytes) -> Malformed:
    """Guess what is wrong with a value.

    Args:
        value: The value.

    Returns:
        The guess; empty for sound JSON.
    """
    if (schema := schema_id(value)) is not None:
        inside = f"; the JSON begins at byte {FRAME_BYTES}" if value[FRAME_BYTES] == ord("{") else ""
        frame = f"looks like a Schema-Registry frame (magic byte 0, schema id {schema}){inside}"
        return Malformed(f"{frame}; expected JSON alone: publish it with a plain string or bytes serializer")
    for magic, words in _MAGIC:
        if value.startswith(magic):
            return Malformed(words, 0)
    head = value[:MAX_PARSED_BYTES]
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        return Malformed(_of_bytes(head, error), len(head[: error.start].decode()))
    if (lone := _lone_surrogate(head)) is not None:
        guess = f"a lone surrogate ({lone[0].decode().lower()}) {_LONE_SURROGATE}"
        return Malformed(guess, len(head[: lone.start()].decode()))
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        if text[:1] not in ("{", "[") and _CONTROLS.search(head):
            return Malformed(PROTOBUF if is_protobuf(value) else BINARY, error.pos)
        return _of_text(text, error.pos)
    except (ValueError, RecursionError):
        return _of_text(text, None)
    return Malformed()


def not_json(value: bytes) -> str:
    """Say what came instead of JSON, in words of ours.

    Args:
        value: A value that a decoder refused as no JSON.

    Returns:
        What it looks like; else where it stops being JSON.
    """
    guess, at = malformed(value)
    if guess:
        return guess
    if not value.strip():
        return "got an empty value" if not value else "got nothing but spaces"
    head = value[:MAX_PARSED_BYTES]
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        return f"got bytes that are not UTF-8, from byte {error.start} (0x{head[error.start]:02x})"
    if at is None:
        return "got JSON that is nested too deeply, or damaged beyond its first megabyte"
    if at >= len(text.rstrip()):
        return f"got JSON that ends too early, after {at} characters"
    return f"got JSON that is damaged at character {at}"


def schema_id(raw: bytes) -> int | None:
    """Read the schema id of a Schema-Registry frame; ids start at 1."""
    if raw[:1] != b"\x00" or len(raw) <= FRAME_BYTES:
        return None
    return int.from_bytes(raw[1:FRAME_BYTES]) or None


def is_protobuf(value: bytes) -> bool:
    """Tell whether bytes are fields of a Protobuf message from the first to the last.

    Source: protobuf.dev, "Encoding" (tags and wire types).
    """
    at = fields = 0
    while at < len(value) and fields < _ENOUGH_FIELDS:
        tag, at = _varint(value, at)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number <= _MOST_FIELDS:
            return False
        if wire_type == 0:
            _, at = _varint(value, at)
        elif wire_type == 2:
            size, at = _varint(value, at)
            at += size
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            return False
        fields += 1
    return fields >= _ENOUGH_FIELDS or (at == len(value) and fields >= _LEAST_FIELDS)


def _varint(value: bytes, at: int) -> tuple[int, int]:
    found = 0
    for shift in range(0, 70, 7):
        if at >= len(value):
            break
        found |= (value[at] & 0x7F) << shift
        at += 1
        if value[at - 1] < 0x80:
            return found, at
    return 0, len(value) + 1


def _of_bytes(value: bytes, error: UnicodeDecodeError) -> str:
    if _SURROGATE_BYTES.match(value, error.start):
        return f"a lone surrogate {_LONE_SURROGATE}"
    if is_protobuf(value):
        return PROTOBUF
    if _CONTROLS.search(value):
        return BINARY
    # A single invalid byte in text: the producer writes an 8-bit character set.
    return f"{EIGHT_BIT}; expected UTF-8" if value[:1] in (b"{", b"[") else ""


def _lone_surrogate(value: bytes) -> re.Match[bytes] | None:
    for found in _SURROGATE.finditer(value):
        if found[2] is None and _backslashes_before(value, found.start()) % 2 == 0:
            return found
    return None


def _backslashes_before(value: bytes, at: int) -> int:
    """Count without a copy of what is before: a text may have thousands of surrogates."""
    start = at
    while start and value[start - 1] == _BACKSLASH:
        start -= 1
    return at - start


def _refuse_constant(name: str) -> Any:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _of_text(text: str, at: int | None) -> Malformed:
    if found := _NOT_A_NUMBER.search(text):
        return Malformed(f"{found[1]} is not JSON; write null or leave the field out", found.start(1))
    start = text.lstrip()
    if start.startswith("{'"):
        return Malformed("looks like the printed form of a Python dict; expected JSON", at)
    if start.startswith("{") and (found := _BARE_WORD.search(text)):
        return Malformed("looks like the printed form of a Python dict; expected JSON", found.start(1))
    if start.startswith("<"):
        return Malformed("looks like XML; expected JSON", at)
    try:
        _, end = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        if at is not None and (comma := _trailing_comma(text, at)) is not None:
            return Malformed("a comma after the last value of an object or a list is not JSON", comma)
        is_csv = _DELIMITERS.search(text) and not _BRACKETS.search(text)
        return Malformed(CSV_GUESS if is_csv else "", at)
    rest = start[end:].strip()
    if rest == ",":
        return Malformed("a comma after the JSON value; expected values without commas between them", at)
    return Malformed("several JSON values in one record; expected one" if rest else "", at)


def _trailing_comma(text: str, at: int) -> int | None:
    """Return where a comma before a closing bracket is, if it is what the decoder found at or behind it."""
    comma = at if text[at : at + 1] == "," else len(text[:at].rstrip()) - 1
    is_last = text[comma + 1 :].lstrip()[:1] in ("}", "]")
    return comma if comma >= 0 and text[comma] == "," and is_last else None
