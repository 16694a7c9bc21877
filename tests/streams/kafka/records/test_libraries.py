"""Both client libraries go on behind what they cannot read, and give what they can read unchanged."""

import struct
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.record import MemoryRecords

from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.kafka.records import aiokafka_records, kafka_python_records
from tests.streams.kafka.records.handmade import (
    CODECS,
    DELTA_AT,
    TRANSACTIONAL,
    batch,
    flipped,
    marker,
    record_body,
)

PLACE = TopicPartition("t", 3)


class FromAiokafka:
    """The records of a fetch response as aiokafka gives them."""

    def __init__(self, raw, start=0, aborted=(), committed=True, records=aiokafka_records.TolerantRecords):
        made = aiokafka_records._counted(raw)
        aborted = [(pid, first) for pid, first in aborted]
        self.part = records(PLACE, made, aborted, start, None, None, True, int(committed))

    def take(self):
        return list(self.part)

    @property
    def position(self):
        return self.part.next_fetch_offset


class FromKafkaPython:
    """The records of a fetch response as kafka-python gives them."""

    def __init__(self, raw, start=0, aborted=(), committed=True, records=kafka_python_records.TolerantRecords):
        aborted = [SimpleNamespace(producer_id=pid, first_offset=first) for pid, first in aborted]
        self.part = records(
            start, PLACE, MemoryRecords(raw), isolation_level=int(committed), aborted_transactions=aborted
        )

    def take(self):
        found = []
        while self.part:
            found += self.part.take(2)
        return found

    @property
    def position(self):
        return self.part.next_fetch_offset


LIBRARIES = pytest.mark.parametrize("library", [FromAiokafka, FromKafkaPython])
OWN = {FromAiokafka: aiokafka_records.PartitionRecords, FromKafkaPython: Fetcher.PartitionRecords}


def some(base, count=2, **options):
    return batch([record_body(n, b"k", b"v%d" % (base + n)) for n in range(count)], base=base, **options)


def bad_header(base, count=3):
    bodies = [record_body(n, b"k", b"v%d" % (base + n)) for n in range(count)]
    bodies[1] = record_body(1, b"k", b"v", [(b"\xff", b"")])
    return batch(bodies, base=base)


def outline(records):
    """Offset of each record, as a tuple of first and last offset where it is unreadable."""
    return [(r.value.first_offset, r.offset) if isinstance(r.value, Unreadable) else r.offset for r in records]


@LIBRARIES
def test_all_that_is_bad_is_isolated(library):
    raw = b"".join(
        [
            some(0),
            bad_header(2),
            flipped(some(5), -1),
            some(7, codec=3),
            some(9, payload=b"\0", attributes=2),
            some(11, attributes=7),
            some(13),
        ]
    )
    found = library(raw)
    records = found.take()
    assert outline(records) == [0, 1, 2, (3, 3), 4, (5, 5), (6, 6), 7, 8, (9, 10), (11, 12), 13, 14]
    assert found.position == 15
    assert {(r.topic, r.partition) for r in records} == {("t", 3)}
    assert records[3].key is None
    assert list(records[3].headers) == []
    assert records[3].value.key == b"k"


@LIBRARIES
def test_a_read_begins_inside_a_bad_batch(library):
    raw = bad_header(2) + some(5)
    assert outline(library(raw, start=3).take()) == [(3, 3), 4, 5, 6]
    assert outline(library(raw, start=4).take()) == [4, 5, 6]
    whole = some(0, count=5, attributes=7)
    found = library(whole, start=3)
    assert outline(found.take()) == [(0, 4)]
    assert found.position == 5


@LIBRARIES
def test_nothing_but_bad_batches(library):
    raw = b"".join(some(2 * n, attributes=7) for n in range(3_000))
    found = library(raw)
    assert len(found.take()) == 3_000
    assert found.position == 6_000


@LIBRARIES
def test_transactions_hide_the_same_records(library):
    aborted = b"".join(
        [
            some(0, attributes=TRANSACTIONAL, producer=7),
            batch([record_body(0, b"k", b"v", [(b"\xff", b"")])], base=2, attributes=TRANSACTIONAL, producer=7),
            flipped(some(3, attributes=TRANSACTIONAL, producer=7), -1),
            some(5, attributes=TRANSACTIONAL, producer=8),
            marker(7, 7, commits=False),
            some(8, attributes=TRANSACTIONAL, producer=7),
        ]
    )
    assert outline(library(aborted, aborted=[(7, 0)]).take()) == [5, 6, 8, 9]
    open_too = library(aborted, aborted=[], committed=False)
    assert outline(open_too.take()) == [0, 1, (2, 2), (3, 3), (4, 4), 5, 6, 8, 9]
    assert open_too.position == 10


@LIBRARIES
def test_a_damaged_marker_is_unreadable_and_still_ends_its_transaction(library):
    raw = some(0, attributes=TRANSACTIONAL, producer=7) + flipped(marker(2, 7, commits=False), -1)
    raw += some(3, attributes=TRANSACTIONAL, producer=7)
    assert outline(library(raw, aborted=[(7, 0)]).take()) == [(2, 2), 3, 4]


@LIBRARIES
def test_an_incomplete_batch_at_the_end_is_left_for_the_next_fetch(library):
    raw = flipped(some(0), -1) + some(2)[:30]
    found = library(raw)
    assert outline(found.take()) == [(0, 0), (1, 1)]
    assert found.position == 2
    assert outline(library(bad_header(0) + some(3)[:5]).take()) == [0, (1, 1), 2]


@LIBRARIES
def test_a_batch_without_records_is_passed(library):
    raw = batch([], base=0, last_delta=4) + bad_header(5)
    found = library(raw)
    assert outline(found.take()) == [5, (6, 6), 7]
    assert found.position == 8


@LIBRARIES
@pytest.mark.parametrize("length", [0, -1, 9, 30])
def test_a_batch_too_short_for_its_header_is_passed(library, length):
    raw = bytearray(some(0) + some(2))
    struct.pack_into(">i", raw, 8, length)
    found = library(bytes(raw))
    assert outline(found.take())[0] == (0, 0)
    assert found.position == 1  # what lies behind is fetched again


@LIBRARIES
def test_two_damaged_batches_in_a_row(library):
    raw = flipped(some(0), -1) + flipped(some(2), -1) + some(4)
    assert outline(library(raw).take()) == [(0, 0), (1, 1), (2, 2), (3, 3), 4, 5]


@LIBRARIES
def test_a_damaged_header_at_the_end_of_a_response_skips_nothing(library):
    raw = bytearray(some(0, count=3))
    struct.pack_into(">i", raw, DELTA_AT, 2**30)
    found = library(bytes(raw))
    assert outline(found.take()) == [(0, 0), (1, 1), (2, 2)]
    assert found.position == 3
    # The broker goes by the same header, and returns the batch again.
    again = library(bytes(raw), start=3)
    assert outline(again.take()) == [(3, 3)]
    assert again.position == 4
    behind = library(bytes(raw) + some(3), start=3)
    assert outline(behind.take()) == [3, 4]


@LIBRARIES
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    codec=st.sampled_from(sorted(CODECS)),
    start=st.integers(0, 6),
)
def test_readable_records_are_those_of_the_library(library, counts, codec, start):
    bases = [sum(counts[:n]) for n in range(len(counts))]
    raw = b"".join(some(base, count, codec=codec) for base, count in zip(bases, counts, strict=True))
    ours, theirs = library(raw, start), library(raw, start, records=OWN[library])
    assert ours.take() == theirs.take()
    assert ours.position == theirs.position


def test_aiokafka_uses_them_once_they_are_installed():
    aiokafka_records.install()
    aiokafka_records.install()
    assert fetcher.PartitionRecords is aiokafka_records.TolerantRecords
    assert outline(
        fetcher.PartitionRecords(PLACE, fetcher.MemoryRecords(bad_header(0)), None, 0, None, None, True, 0)
    ) == [
        0,
        (1, 1),
        2,
    ]
