"""Byte layout of live counts: `item-counts.v1`, `item-count-changes.v1` and `item-count-totals.v1`.

Items are divided by the first byte of their keys into 256 parts. A range of parts has one partition of
`item-count-changes.v1`, and the partition of `item-count-totals.v1` with the same number.

* `item-counts.v1`, key `partition/offset`: the mark of a partition of the listens, without items. All listens before
  its offset are published as changes.
* `item-count-changes.v1`, key `partition`: what that partition of the listens counted of one range since its last mark,
  with the offset of the mark that it leads to.
* `item-count-totals.v1`, key `part` in two hex digits: all counts of the part, which replace its previous value. All
  changes before its offset are contained.

Value, little-endian:

    u8   format, 1
    u64  half-life, ms
    i64  source offset: what was read before it is counted, and nothing else
    i32  landmark (`sidestream.tokenizer.popularity.Counts`)
    u32  n, number of items
    u64  item keys, ascending (n)
    f64  weights (n)

A part without items has n = 0.

Releases before `item-count-changes.v1` kept all counts of a partition of the listens in `item-counts.v1`, in records
with the key `partition/part`, each with the source offset up to which its part was counted. Such parts are carried
over: published as changes and removed, in one transaction with the mark (`partition_changes`).

Why not one record per item: a listen changes one item, so there would be nearly as many records as listens; parts of a
thousand items cost a copy of some bytes each.
"""

from collections.abc import Iterator
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


def first_part(number: int, num_ranges: int) -> int:
    """Return the first part of a range; of `num_ranges` itself, the number of parts."""
    return -(-number * NUM_PARTS // num_ranges)


def split_by_range(counts: Counts, num_ranges: int) -> Iterator[tuple[int, Counts]]:
    """Yield the counts of each range that has any, with its number."""
    for number in range(num_ranges):
        last = (first_part(number + 1, num_ranges) << PART_SHIFT) - 1
        if (some := counts.between(first_part(number, num_ranges) << PART_SHIFT, last)).keys.size:
            yield number, some


def split_by_part(counts: Counts) -> Iterator[tuple[int, Counts]]:
    """Yield the counts of each part that has any, with its number."""
    for part in np.unique(counts.keys >> np.uint64(PART_SHIFT)).tolist():
        yield part, counts.between(part << PART_SHIFT, (part + 1 << PART_SHIFT) - 1)


def changes_key(partition: int) -> bytes:
    """Return the key of the changes that a partition of the listens publishes."""
    return str(partition).encode()


def total_key(part: int) -> bytes:
    """Return the key of the total of a part."""
    return f"{part:02x}".encode()


def read_total_key(key: bytes | None) -> int:
    """Decode the key of a total.

    Args:
        key: Record key.

    Returns:
        The part.

    Raises:
        BadRecord: The key is invalid.
    """
    try:
        part = int((key or b"").decode("ascii"), 16)
    except ValueError as exc:
        raise BadRecord(Reason.BAD_VALUE, f"key: expected a part, two hex digits, got {key!r}") from exc
    if not 0 <= part < NUM_PARTS or total_key(part) != key:
        raise BadRecord(Reason.BAD_VALUE, f"key: expected a part, two hex digits, got {key!r}")
    return part


def part_key(partition: int, part: int | None) -> bytes:
    """Return the key of a partition's mark (part None), or of a part of its counts in the older form."""
    return f"{partition}/{OFFSET_NAME if part is None else f'{part:02x}'}".encode()


def read_key(key: bytes | None) -> tuple[int, int | None]:
    """Decode a key of `item-counts.v1`.

    Args:
        key: Record key.

    Returns:
        Partition and part; part None for the mark.

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
