"""Record batches written byte by byte, also such as no client library would write."""

import gzip
import struct

import cramjam
from aiokafka.record.util import calc_crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
CRC_AT, ATTRIBUTES_AT, DELTA_AT, PAYLOAD_AT = 17, 21, 23, 61
TRANSACTIONAL, CONTROL = 0x10, 0x20
CODECS = {
    0: lambda raw: raw,
    1: lambda raw: gzip.compress(raw, mtime=0),
    2: lambda raw: bytes(cramjam.snappy.compress_raw(raw)),
    3: lambda raw: bytes(cramjam.lz4.compress(raw)),
    4: lambda raw: bytes(cramjam.zstd.compress(raw)),
}


def varint(value):
    value, out = (value << 1) ^ (value >> 63), bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    return bytes(out) + bytes([value])


def field(raw):
    return varint(-1) if raw is None else varint(len(raw)) + raw


def record_body(delta, key, value, headers=(), timestamp_delta=0, count=None):
    """A record without its length; names of headers are bytes."""
    named = b"".join(field(name) + field(content) for name, content in headers)
    start = b"\0" + varint(timestamp_delta) + varint(delta) + field(key) + field(value)
    return start + varint(len(headers) if count is None else count) + named


def batch(bodies, *, base=0, codec=0, attributes=0, last_delta=None, count=None, producer=-1, payload=None, crc=None):
    """A batch of record bodies; everything can be set to what is wrong."""
    joined = b"".join(varint(len(body)) + body for body in bodies)
    packed = CODECS[codec](joined) if payload is None else payload
    last_delta = len(bodies) - 1 if last_delta is None else last_delta
    count = len(bodies) if count is None else count
    fields = (attributes | codec, last_delta, 1_000, 1_999, producer, 0, 0, count)
    made = bytearray(HEADER.pack(base, len(packed) + PAYLOAD_AT - 12, 0, 2, 0, *fields) + packed)
    struct.pack_into(">I", made, CRC_AT, calc_crc32c(bytes(made[ATTRIBUTES_AT:])) if crc is None else crc)
    return bytes(made)


def marker(base, producer, *, commits):
    """A control batch: the end of a transaction."""
    body = record_body(0, struct.pack(">hh", 0, int(commits)), struct.pack(">hi", 0, 0))
    return batch([body], base=base, attributes=TRANSACTIONAL | CONTROL, producer=producer)


def flipped(raw, at):
    """The bytes with one of them changed; negative places count from the end."""
    at %= len(raw)
    return raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :]
