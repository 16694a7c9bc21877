"""What the changelog holds of users: last values by partition, and whether an erasure has reached them."""

from collections import namedtuple

import pytest

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import block_key, erase, erase_all, fold, forget
from sidestream.streams.operate.states.user_values import UserValues

AT = 1_700_000_000_000
Record = namedtuple("Record", "key value")


def folded(count: int, first: int = 0):
    rows = [
        (n, ListenRow(event_id=f"e{n}", user_id="u", item_id=f"i{n}", at=AT + n)) for n in range(first, first + count)
    ]
    return fold(None, rows, lambda _: None, 64)


def records(values: dict[bytes, bytes | None]) -> list[Record]:
    return [Record(key, value) for key, value in values.items()]


@pytest.fixture
def values() -> UserValues:
    return UserValues([b"u", b"v"])


def test_states_and_blocks_are_found_by_partition_and_others_are_skipped(values):
    full = folded(100)
    blocks = {block_key(b"u", slot): block for slot, block in full.blocks.items()}
    values.read(2, records({b"u": full.state, **blocks, b"w": b"x", b"\xff\xfforigin": b"{}"}))
    values.read(0, records({block_key(b"u", 0): b"", b"": b"", b"v": None}))
    assert values.partitions(b"u") == [0, 2]
    assert values.partitions(b"v") == []
    values.read(0, records({block_key(b"u", 0): None}))
    assert values.partitions(b"u") == [2]
    assert values.keeps(b"u", 2, AT)
    assert not values.keeps(b"u", 1, AT)


def test_an_erasure_is_seen_once_state_and_blocks_know_it(values):
    full = folded(100)
    keys = {slot: block_key(b"u", slot) for slot in full.blocks}
    values.read(0, records({b"u": full.state} | {keys[slot]: block for slot, block in full.blocks.items()}))
    erasure = erase_all(full.state, full.blocks, AT + 99)
    values.read(0, records({b"u": erasure.state}))
    assert not values.is_erased(b"u", 0, AT + 99), "the blocks are left"
    values.read(0, records({keys[slot]: block for slot, block in erasure.blocks.items()}))
    assert values.is_erased(b"u", 0, AT + 99)
    assert not values.is_erased(b"u", 0, AT + 100)
    values.read(0, records({b"u": forget(erasure.state)}))
    assert not values.keeps(b"u", 0, AT + 99)
    assert not values.is_erased(b"u", 0, AT + 99), "it is not known whether it was this one"


def test_later_listens_and_blocks_of_an_erased_user_are_no_remains(values):
    full = fold(erase(None, AT), [(n, row) for n, row in _rows(100)], lambda _: None, 64)
    values.read(0, records({b"u": full.state} | {block_key(b"u", slot): x for slot, x in full.blocks.items()}))
    assert values.is_erased(b"u", 0, AT)
    assert values.keeps(b"u", 0, AT + 1)


def test_bytes_that_cannot_be_read_count_as_remains(values):
    values.read(0, records({b"u": b"?"}))
    assert values.keeps(b"u", 0, AT)
    values.read(0, records({b"u": None, block_key(b"u", 0): b"?"}))
    assert values.keeps(b"u", 0, AT)


def _rows(count: int):
    return [(n, ListenRow(event_id=f"e{n}", user_id="u", item_id=f"i{n}", at=AT + 1 + n)) for n in range(count)]
