"""Byte layout of counts: keys and values round trip, invalid ones are rejected, ranges cover all items once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.errors import BadRecord
from sidestream.streams.popularity.values import (
    NUM_PARTS,
    PART_SHIFT,
    CountedPart,
    first_part,
    part_key,
    read_key,
    read_part,
    read_total_key,
    split_by_part,
    split_by_range,
    total_key,
)
from sidestream.tokenizer.popularity import Counts, join_counts
from tests.streams.popularity.counted_log import as_dict, expected, listen


def test_values_round_trip():
    part = CountedPart(16_000, 7, expected([listen(1, 5), listen(2, 9)]))
    back = read_part(part.to_bytes())
    assert (back.half_life_ms, back.offset, as_dict(back.counts)) == (16_000, 7, as_dict(part.counts))
    assert [read_key(part_key(12, part)) for part in (None, 0, 255)] == [(12, None), (12, 0), (12, 255)]
    assert [read_total_key(total_key(part)) for part in (0, 35, 255)] == [0, 35, 255]


@pytest.mark.parametrize("key", [None, b"", b"1", b"1/", b"a/00", b"1/zz", b"01/00", b"1/0", b"1/100", b"\xff/00"])
def test_invalid_keys_are_rejected(key):
    with pytest.raises(BadRecord):
        read_key(key)


@pytest.mark.parametrize("key", [None, b"", b"1", b"100", b"-1", b"zz", b"0A", b" 1", b"3/23", b"\xff\xff"])
def test_invalid_keys_of_totals_are_rejected(key):
    with pytest.raises(BadRecord):
        read_total_key(key)


GOOD = CountedPart(16_000, 7, expected([listen(1, 5), listen(2, 9)])).to_bytes()
SWAPPED = GOOD[:25] + GOOD[33:41] + GOOD[25:33] + GOOD[41:]


@pytest.mark.parametrize(
    "value", [b"", b"\x02" + GOOD[1:], GOOD[:-1], GOOD + b"\0", SWAPPED, GOOD[:-8] + b"\xff" * 8, b"\x01nonsense"]
)
def test_invalid_values_are_rejected(value):
    with pytest.raises(BadRecord):
        read_part(value)


@given(st.sets(st.integers(0, 2**64 - 1)), st.integers(1, NUM_PARTS))
def test_each_item_is_in_one_range_and_in_one_part(keys, num_ranges):
    counts = Counts(3, np.array(sorted(keys), np.uint64), np.arange(1.0, len(keys) + 1))
    ranges = list(split_by_range(counts, num_ranges))
    for number, some in ranges:
        parts = some.keys >> np.uint64(PART_SHIFT)
        assert first_part(number, num_ranges) <= parts.min() <= parts.max() < first_part(number + 1, num_ranges)
    for joined in (join_counts([some for _, some in ranges]), join_counts([some for _, some in split_by_part(counts)])):
        assert (joined.keys.tolist(), joined.weights.tolist()) == (counts.keys.tolist(), counts.weights.tolist())
    assert (first_part(0, num_ranges), first_part(num_ranges, num_ranges)) == (0, NUM_PARTS)
