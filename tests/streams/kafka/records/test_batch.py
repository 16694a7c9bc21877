"""The tolerant parser reads what the libraries read, and loses no offset of what they refuse."""

import struct

import pytest
from aiokafka.record.memory_records import MemoryRecords as AiokafkaRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords as KafkaPythonRecords
from kafka.record.util import calc_crc32c as calc_crc32c_python

from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.kafka.records.batch import Batch, base_offset
from tests.streams.kafka.records.handmade import CODECS, batch, flipped, record_body, varint

NAMES = st.text(max_size=6).map(str.encode)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=4)
BODIES = st.lists(
    st.tuples(st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=300), HEADERS, st.integers(-9, 2**40)),
    min_size=1,
    max_size=8,
)


def read(raw, start=0, following=None):
    return list(Batch(raw, following, calc_crc32c).records(start))


def bad(raw, **options):
    """Offsets of the unreadable records, first and last."""
    return [(r.value.first_offset, r.offset) for r in read(raw, **options) if isinstance(r.value, Unreadable)]


def fields(record):
    return record.offset, record.timestamp, record.key, record.value, list(record.headers)


@given(
    rows=BODIES,
    codec=st.sampled_from(sorted(CODECS)),
    append_time=st.booleans(),
    gaps=st.lists(st.integers(1, 5), min_size=8, max_size=8),
    base=st.integers(0, 2**40),
)
def test_it_gives_the_records_of_both_libraries(rows, codec, append_time, gaps, base):
    deltas = [sum(gaps[:number]) for number in range(len(rows))]
    bodies = [
        record_body(d, key, value, headers, timestamp)
        for d, (key, value, headers, timestamp) in zip(deltas, rows, strict=True)
    ]
    # Compaction leaves the last offset of a batch whose last record it removed.
    raw = batch(bodies, base=base, codec=codec, attributes=0x08 * append_time, last_delta=deltas[-1] + 3)
    expected = [fields(record) for record in AiokafkaRecords(raw).next_batch()]
    assert [fields(record) for record in KafkaPythonRecords(raw).next_batch()] == expected
    assert [fields(record) for record in read(raw)] == expected
    assert Batch(raw, None, calc_crc32c_python).last_offset == base + deltas[-1] + 3


@given(rows=BODIES, codec=st.sampled_from(sorted(CODECS)), data=st.data())
def test_one_bad_record_leaves_all_others(rows, codec, data):
    bodies = [record_body(number, key, value, headers) for number, (key, value, headers, _) in enumerate(rows)]
    broken = data.draw(st.integers(0, len(rows) - 1))
    key, value, headers, _ = rows[broken]
    bodies[broken] = data.draw(
        st.sampled_from(
            [
                record_body(broken, key, value, [(b"\xff\xfe", b"x"), *headers]),
                record_body(broken, key, value, headers) + b"more",
                record_body(broken, key, value, headers, count=99),
                record_body(broken, key, value, headers, count=-1),
                record_body(broken, key, value, [*headers, (None, b"x")]),
                record_body(broken, key, value, headers)[:4],
                b"\0" + b"\xff" * 12,
                b"",
            ]
        )
    )
    found = read(batch(bodies, codec=codec, base=100))
    assert [record.offset for record in found] == list(range(100, 100 + len(rows)))
    assert [isinstance(record.value, Unreadable) for record in found] == [n == broken for n in range(len(rows))]
    for number, (record, row) in enumerate(zip(found, rows, strict=True)):
        if number != broken:
            assert (record.key, record.value) == row[:2]


@given(raw=st.binary(min_size=8, max_size=200), start=st.integers(-5, 5))
def test_any_bytes_are_read_without_an_error(raw, start):
    read(raw, start)


@given(rows=BODIES, codec=st.sampled_from(sorted(CODECS)), data=st.data())
def test_damage_anywhere_is_found_and_covers_every_offset(rows, codec, data):
    bodies = [record_body(number, key, value, headers) for number, (key, value, headers, _) in enumerate(rows)]
    raw = batch(bodies, codec=codec, base=7)
    damaged = flipped(raw, data.draw(st.integers(17, len(raw) - 1)))
    following = 7 + len(rows)
    found = read(damaged, following=following)
    assert all(isinstance(record.value, Unreadable) for record in found)
    assert all(record.key is None and record.value == b"" for record in found)
    places = [(record.value.first_offset, record.offset) for record in found]
    assert all(7 <= first <= last < following for first, last in places)
    assert [first for first, _ in places] == [7, *(last + 1 for _, last in places[:-1])]
    assert places[-1][1] == following - 1


def test_a_bad_header_name_keeps_the_rest_of_the_record():
    raw = batch([record_body(0, b"k", b"v", [(b"ok", b"1"), (b"n\xff", None)]), record_body(1, b"k2", b"v2")])
    first, second = read(raw)
    value = first.value
    assert (value.key, value.content, value.part) == (b"k", b"v", "value")
    assert value.headers == (("ok", b"1"), ("n\\xff", None))
    assert value.why == "name of header 2: expected UTF-8, got b'n\\xff'"
    assert (second.key, second.value) == (b"k2", b"v2")


def test_a_batch_that_cannot_be_decompressed_is_one_record_of_all_its_offsets():
    raw = batch([record_body(n, b"k", b"v") for n in range(5)], base=40, attributes=4, payload=b"no zstd")
    (found,) = read(raw)
    assert (found.value.first_offset, found.offset) == (40, 44)
    assert (found.value.part, found.value.content) == ("batch", raw)
    assert found.value.why.startswith("offsets 40 to 44: zstd: ")


def test_an_unknown_codec_is_named():
    (found,) = read(batch([record_body(0, b"k", b"v")], attributes=6))
    assert found.value.why == "codec: expected 0 to 4 (none, gzip, snappy, lz4, zstd), got 6"


def test_a_failing_crc_keeps_the_records_but_none_as_valid():
    raw = batch([record_body(n, b"k%d" % n, b"v%d" % n) for n in range(3)], crc=1)
    found = read(raw)
    assert [(r.offset, r.value.key, r.value.content) for r in found] == [
        (0, b"k0", b"v0"),
        (1, b"k1", b"v1"),
        (2, b"k2", b"v2"),
    ]
    assert all("expected CRC-32C 0x00000001, got 0x" in record.value.why for record in found)


@pytest.mark.parametrize(
    ("count", "expected"), [(2, [(2, 3)]), (9, []), (-1, [(0, 3)]), (0, [(0, 3)])], ids=["few", "many", "minus", "none"]
)
def test_a_wrong_number_of_records_loses_no_offset(count, expected):
    raw = batch([record_body(n, b"k", b"v") for n in range(4)], count=count)
    assert bad(raw) == expected
    assert read(raw)[-1].offset == 3


def test_a_record_that_ends_outside_its_batch_takes_the_rest_with_it():
    good = record_body(0, b"k", b"v")
    raw = batch([], payload=varint(len(good)) + good + varint(500) + b"short", count=3, last_delta=2)
    assert bad(raw) == [(1, 2)]
    assert read(raw)[0].value == b"v"


def test_only_offsets_from_the_start_are_given():
    raw = batch([record_body(n, b"k", b"v") for n in range(4)], base=10, crc=0)
    assert bad(raw, start=12) == [(12, 12), (13, 13)]


def test_a_damaged_header_does_not_reach_into_the_next_batch():
    raw = bytearray(batch([record_body(0, b"k", b"v")], base=10))
    struct.pack_into(">i", raw, 23, 2**30)
    assert Batch(bytes(raw), 13, calc_crc32c).last_offset == 12
    struct.pack_into(">i", raw, 23, -5)
    assert Batch(bytes(raw), 13, calc_crc32c).last_offset == 12
    assert Batch(bytes(raw), None, calc_crc32c).last_offset == 10
    struct.pack_into(">i", raw, 23, 2**30)
    assert Batch(bytes(raw), None, calc_crc32c).last_offset == 10


def test_an_old_or_cut_batch_is_one_unreadable_record():
    old = bytearray(batch([record_body(0, b"k", b"v")], base=5))
    old[16] = 1
    assert bad(bytes(old)) == [(5, 5)]
    assert bad(bytes(old[:20])) == [(5, 5)]
    assert "magic 1" in read(bytes(old))[0].value.why


def test_a_first_offset_is_believed_only_of_a_batch():
    raw = batch([record_body(0, b"k", b"v")], base=77)
    assert base_offset(raw + b"more", calc_crc32c) == 77
    assert base_offset(raw[:21], calc_crc32c) == 77
    for wrong in (b"", raw[:20], raw[1:], flipped(raw, -1), flipped(raw, 16), flipped(raw, 18), raw[:8] + bytes(30)):
        assert base_offset(wrong, calc_crc32c) is None
