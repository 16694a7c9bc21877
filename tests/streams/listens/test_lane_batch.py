"""A batch: for any slices and batches, states equal one fold, and malformed records become dead letters."""

import json
from collections import namedtuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.history import block_key, fold, split_block_key
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.listens.batch import ListenBatch, Piece
from sidestream.tokenizer.catalogue import StoredSid
from tests.streams.listens.lane_counts import LaneCounts

Record = namedtuple("Record", "topic partition offset timestamp key value headers")
NOW_MS = 1_700_000_100_000


def lookup(key: int) -> StoredSid | None:
    return None if key % 3 == 0 else StoredSid("0123456789ab", (key % 256, 1, 2))


def make_record(offset: int, user: int, event: int = -1, at: int | None = None, value: bytes | None = b"") -> Record:
    if value == b"":
        listen = {
            "event_id": f"e{offset if event < 0 else event}",
            "user_id": f"u{user}",
            "item_id": f"i{offset % 5}",
            "at": NOW_MS - 1_000 if at is None else at,
        }
        value = json.dumps(listen).encode()
    return Record("listens", 0, offset, NOW_MS, f"u{user}".encode(), value, ())


def fold_all(batch: ListenBatch, states: dict[bytes, bytes], max_users: int = 3, max_listens: int = 5) -> list[dict]:
    """Fold in pieces, and return what each changes."""
    pieces = batch.pieces(max_users, max_listens)
    return [batch.fold(some, [states.get(piece.user) for piece in some], lookup) for some in pieces]


def run(
    records: list[Record], cuts: list[int], step: int = 3, history_events: int = 0
) -> tuple[dict[bytes, bytes], LaneCounts, int]:
    states: dict[bytes, bytes] = {}
    counts = LaneCounts()
    next_offset = 0
    for first, last in zip([0, *cuts], [*cuts, len(records)], strict=True):
        batch = ListenBatch(0, next_offset, decode_listen, history_events)
        for start in range(first, last, step):
            batch.add(records[start : min(start + step, last)])
        fold_all(batch, states, step)
        result = batch.result()
        states.update({key: value for key, value in result.values.items() if value is not None})
        next_offset = result.next_offset
        batch.count(counts, 0.1)
    return states, counts, next_offset


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_split_into_batches_gives_the_state_of_one_fold(data):
    count = data.draw(st.integers(0, 80))
    records = [
        make_record(
            offset * 2,  # logs have gaps
            data.draw(st.integers(0, 4)),
            data.draw(st.integers(0, 60)),
            NOW_MS - data.draw(st.integers(0, 10**7)),
            data.draw(st.sampled_from([b"", b"", b"", b"{bad", None])),
        )
        for offset in range(count)
    ]
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    states, counts, next_offset = run(records, cuts)

    listens: dict[bytes, list] = {}
    for record in records:
        if record.value not in (b"{bad", None):
            listens.setdefault(record.key, []).append((record.offset, decode_listen(*record[4:6], record.timestamp)))
    assert states == {user: fold(None, of_user, lookup).state for user, of_user in listens.items()}
    assert next_offset == (records[-1].offset + 1 if records else 0)
    assert counts.applied + counts.repeats + counts.late == sum(map(len, listens.values()))
    assert sum(counts.bad_by_reason.values()) == count - sum(map(len, listens.values()))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_blocks_are_values_of_the_batch_and_come_before_their_state(data):
    # Two users, so that their rings overflow.
    records = [
        make_record(offset, data.draw(st.integers(0, 1)), at=NOW_MS - data.draw(st.integers(0, 2_000)))
        for offset in range(170)
    ]
    cuts = sorted(data.draw(st.lists(st.integers(0, 170), max_size=4)))
    values, _, _ = run(records, cuts, history_events=40)
    expected = {}
    for user in (b"u0", b"u1"):
        of_user = [(r.offset, decode_listen(*r[4:6], r.timestamp)) for r in records if r.key == user]
        result = fold(None, of_user, lookup, 40)
        if of_user:
            expected[user] = result.state
        expected.update((block_key(user, slot), block) for slot, block in result.blocks.items())
    assert values == expected
    assert any(split_block_key(key) for key in values)
    batch = ListenBatch(0, 0, decode_listen, 40)
    batch.add(records)
    fold_all(batch, {})
    keys = list(batch.result().values)
    for key in keys:
        if (of := split_block_key(key)) is not None:
            assert keys.index(key) < keys.index(of[0])


def test_malformed_records_keep_bytes_and_position():
    records = [make_record(4, 1), make_record(5, 1, value=b"{bad"), make_record(6, 1, value=None)]
    batch = ListenBatch(0, 0, decode_listen)
    batch.add(records)
    letters = batch.result().dead_letters
    assert [(letter.topic, letter.key, letter.value) for letter in letters] == [
        ("listens.dlq", b"u1", b"{bad"),
        ("listens.dlq", b"u1", None),
    ]
    assert [dict(letter.headers)["__streams.errors.offset"] for letter in letters] == [b"5", b"6"]
    assert batch.bad_reasons == ["not_json", "null_value"]


def test_records_delivered_twice_are_dropped():
    batch = ListenBatch(0, 10, decode_listen)
    batch.add([make_record(8, 1), make_record(9, 1), make_record(10, 1)])
    batch.add([make_record(10, 1)])
    assert batch.result().next_offset == 11
    fold_all(batch, {})
    assert batch.applied == 1


def test_replayed_records_change_nothing():
    records = [make_record(offset, offset % 3) for offset in range(20)]
    states, _, _ = run(records, [])
    batch = ListenBatch(0, 0, decode_listen)
    batch.add(records)
    assert not any(fold_all(batch, states))
    assert batch.stale == len(records)
    assert batch.result().values == {}


def test_a_batch_of_malformed_records_advances_the_offset():
    batch = ListenBatch(0, 0, decode_listen)
    batch.add([make_record(offset, 1, value=b"[]") for offset in range(50)])
    assert batch.users == []
    assert len(batch.result().dead_letters) == 50
    assert batch.result().next_offset == 50


def test_user_that_does_not_match_the_key_is_malformed():
    batch = ListenBatch(0, 0, decode_listen)
    batch.add([make_record(0, 1)._replace(key=b"u2"), make_record(1, 1)._replace(key=None)])
    assert batch.bad_reasons == ["key_mismatch"] * 2
    with pytest.raises(KeyError):
        batch.fold([Piece(b"u1", 0, 1)], [None], lookup)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    max_users=st.integers(1, 5),
    max_listens=st.integers(1, 40),
)
def test_pieces_hold_every_listen_once_in_order_and_keep_to_their_bounds(counts, max_users, max_listens):
    batch, offset = ListenBatch(0, 0, decode_listen), 0
    for user, count in enumerate(counts):
        batch.add([make_record(offset + number, user) for number in range(count)])
        offset += count
    groups = list(batch.pieces(max_users, max_listens))
    assert all(len(group) <= max_users for group in groups)
    assert all(sum(piece.stop - piece.first for piece in group) <= max_listens for group in groups)
    found: dict[bytes, list[int]] = {}
    for group in groups:
        for user, first, stop in group:
            found.setdefault(user, []).extend(range(first, stop))
    assert found == {f"u{user}".encode(): list(range(count)) for user, count in enumerate(counts)}


def test_listens_of_other_partitions_are_dead_letters_and_leave_no_state():
    topic = build_topics(TopicSettings(user_partitions=4)).listens
    users = range(40)
    here = [user for user in users if topic.partition_of(f"u{user}".encode()) == 0]
    records = [make_record(offset, offset % 40) for offset in range(200)]
    bad = make_record(200, here[0], value=b"not JSON")
    batch = ListenBatch(0, 40, decode_listen, placement=Placement(topic))
    for first in range(0, 200, 30):
        batch.add(records[first : first + 30])
    batch.add([bad])
    batch.refuse_misplaced()
    assert sorted(batch.users) == sorted(f"u{user}".encode() for user in here)
    assert batch.next_offset == 201
    letters = batch.result().dead_letters
    offsets = [int(dict(letter.headers)["__streams.errors.offset"]) for letter in letters]
    strays = [record for record in records[40:] if record.offset % 40 not in here]
    assert offsets == [200, *(record.offset for record in strays)]
    assert [letter.value for letter in letters[1:]] == [record.value for record in strays]
    counts = LaneCounts()
    batch.count(counts, 0.1)
    assert counts.bad_by_reason == {"not_json": 1, "wrong_partition": len(strays)}


def test_a_batch_of_the_right_partitioner_has_no_dead_letters():
    topic = build_topics(TopicSettings(user_partitions=4, partitioner="crc32")).listens
    here = [user for user in range(40) if topic.partition_of(f"u{user}".encode()) == 0]
    batch = ListenBatch(0, 0, decode_listen, placement=Placement(topic))
    batch.add([make_record(offset, user) for offset, user in enumerate(here)])
    batch.refuse_misplaced()
    assert len(batch.users) == len(here)
    assert batch.result().dead_letters == []
