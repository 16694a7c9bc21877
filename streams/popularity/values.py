"""Byte layout of `item-counts.v1`: the counts of each partition of the listens, in 256 parts by item key.

Key: `partition/part` as text, part in two hex digits: the first byte of its items' keys. Each partition of the listens
has one writer, which writes to the partition with the same number; a new value replaces the previous one.

Value, little-endian:

    u8   format, 1
    u64  half-life, ms
    i64  source offset: all listens of the partition before it are counted, and no others
    i32  landmark (`sidestream.tokenizer.popularity.Counts`)
    u32  n, number of items
    u64  item keys, ascending (n)
    f64  weights (n)

A part without items has n = 0. One more key, `partition/offset`, has a value without items; from its offset on, listens
may be missing in some part: counting resumes there after a crash.

Why not one record per item: a listen changes one item, so there would be nearly as many records as listens; parts of a
thousand items cost a copy of some bytes each.
"""

from dataclasses import dataclass
from struct import Struct

import numpy as np

from sidestream.streams.contracts.decode import Reason
from sidestream.streams.errors import BadRecord
from sidestream.tokenizer.popularity import Counts

NUM_PARTS = 256
PART_SHIFT = 56
OFFSET_NAME = "offset"
_FORMAT = 1
_HEADER = Struct("<BQqiI")
_KEY_BYTES, _WEIGHT_BYTES = 8, 8


@dataclass(frozen=True, slots=True)
class CountedPart:
    """One value.

    Attributes:
        half_life_ms: Half-life of the weights.
        offset: First source offset that is not counted.
        counts: Counts by item.
    """

    half_life_ms: int
    offset: int
    counts: Counts

    def to_bytes(self) -> bytes:
        """Encode the value."""
        counts = self.counts
        header = _HEADER.pack(_FORMAT, self.half_life_ms, self.offset, counts.landmark, counts.keys.size)
        return b"".join((header, counts.keys.astype("<u8").tobytes(), counts.weights.astype("<f8").tobytes()))


def part_key(partition: int, part: int | None) -> bytes:
    """Return the key of a part of a partition; part None for the offset record."""
    return f"{partition}/{OFFSET_NAME if part is None else f'{part:02x}'}".encode()


def read_key(key: bytes | None) -> tuple[int, int | None]:
    """Decode a key.

    Args:
        key: Record key.

    Returns:
        Partition and part; part None for the offset record.

    Raises:
        BadRecord: The key is invalid.
    """
    try:
        partition, _, part = (key or b"").decode("ascii").partition("/")
        found = int(partition), None if part == OFFSET_NAME else int(part, 16)
    except ValueError as exc:
        raise BadRecord(Reason.BAD_VALUE, f"key: expected partition/part, got {key!r}") from exc
    if part_key(*found) != key or (found[1] is not None and found[1] >= NUM_PARTS):
        raise BadRecord(Reason.BAD_VALUE, f"key: expected partition/part, got {key!r}")
    return found


def read_part(value: bytes) -> CountedPart:
    """Decode a value; the arrays are views of its bytes.

    Args:
        value: Value written by `CountedPart.to_bytes`.

    Returns:
        The part.

    Raises:
        BadRecord: The value is invalid, or of a later format.
    """
    if len(value) < _HEADER.size or value[0] != _FORMAT:
        raise BadRecord(Reason.BAD_VALUE, f"counts: expected format {_FORMAT}, got {value[:1]!r}; upgrade this worker")
    _, half_life_ms, offset, landmark, size = _HEADER.unpack_from(value)
    if len(value) != _HEADER.size + size * (_KEY_BYTES + _WEIGHT_BYTES):
        raise BadRecord(Reason.BAD_VALUE, f"counts: expected {size} items, got {len(value)} bytes")
    keys = np.frombuffer(value, dtype="<u8", count=size, offset=_HEADER.size)
    weights = np.frombuffer(value, dtype="<f8", count=size, offset=_HEADER.size + size * _KEY_BYTES)
    if not ((keys[1:] > keys[:-1]).all() and np.isfinite(weights).all() and (weights >= 0).all()):
        raise BadRecord(Reason.BAD_VALUE, "counts: expected ascending keys and finite weights >= 0")
    return CountedPart(half_life_ms, offset, Counts(landmark, keys, weights))
