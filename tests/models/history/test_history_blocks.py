"""Blocks: the same bytes for any batching, and with the ring every listen once, in order."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.errors import StateError
from sidestream.models.history import (
    HistoryEvent,
    block_key,
    block_prefix,
    describe,
    erase_all,
    fold,
    history,
    split_block_key,
)
from sidestream.models.history.blocks import BLOCK_EVENTS, STRAY, decode_block, num_slots
from sidestream.tokenizer.catalogue import StoredSid
from sidestream.tokenizer.sid import item_key
from tests.models.history.state_model import Heard, Model
from tests.models.history.test_history_fold import lookups


def lookup(key: int) -> StoredSid | None:
    return StoredSid(f"{key % 3:012x}", (key % 256, 1, 2)) if key % 4 else None


def listens(count: int, first: int = 0, at: int = 1_000) -> list[tuple[int, Heard]]:
    return [(first + n, Heard(f"e{first + n}", f"item-{(first + n) % 9}", at + n)) for n in range(count)]


def late_listens(seed: int, count: int = 250, repeats: int = 3) -> list[tuple[int, Heard]]:
    """A log with many late listens, equal times and repeats."""
    rng = random.Random(seed)
    spread = rng.choice([1, 5, 60, 120])
    records = []
    for n in range(count):
        at = max(0, n // 2 - rng.randrange(spread))
        records.append((n, Heard(f"e{n - rng.randrange(repeats)}", f"item-{rng.randrange(12)}", at)))
    return records


def fold_all(records, history_events: int, batches: random.Random | None = None, lookup=lookup):
    """Fold in one call, or in many; state, blocks, and the records that were too late for the ring."""
    state, blocks, first = None, {}, 0
    while first < len(records):
        size = batches.randrange(1, 40) if batches else len(records)
        result = fold(state, records[first : first + size], lookup, history_events)
        state, first = result.state, first + size
        blocks |= result.blocks
    return state, blocks


def entries_kept(records, lookup) -> list[tuple[int, int]]:
    """Item and time of every listen that came in time, by (at, source offset), from the plain model."""
    model, kept = Model(), []
    for offset, heard in records:
        if model.fold(offset, heard, lookup) == "applied":
            kept.append((heard.at, offset, item_key(heard.item_id)))
    return [(key, at) for at, _, key in sorted(kept)]


def seen(events: list[HistoryEvent]) -> list[tuple[int, int]]:
    return [(event.item_key, event.at) for event in events]


@pytest.mark.parametrize("seed", range(12))
def test_blocks_equal_the_reference_to_the_byte(seed):
    records, history_events = late_listens(seed), random.Random(seed).choice([1, 16, 100, 512])
    model, state, blocks = Model(history_events=history_events), None, {}
    for record in records:
        model.fold(*record, lookup)
        result = fold(state, [record], lookup, history_events)
        state = result.state
        blocks |= result.blocks
        assert state == model.to_bytes()
        assert blocks == model.blocks
    assert blocks


@given(st.integers(0, 10**6), lookups(), st.sampled_from([1, 40, 512]))
@settings(max_examples=40, deadline=None)
def test_any_batching_gives_the_same_state_and_the_same_blocks(seed, sids, history_events):
    records = late_listens(seed)
    whole = fold_all(records, history_events, lookup=sids)
    assert fold_all(records, history_events, random.Random(seed), sids) == whole
    again = fold(whole[0], records, sids, history_events)
    assert (again.state, again.blocks) == (whole[0], {})


@pytest.mark.parametrize("seed", range(16))
def test_history_is_every_listen_once_and_in_order(seed):
    records, state, blocks = late_listens(seed), None, {}
    for number, record in enumerate(records):
        result = fold(state, [record], lookup, 512)
        state = result.state
        blocks |= result.blocks
        if number % 29 == 0 or number == len(records) - 1:
            events = history(state, blocks)
            assert seen(events) == entries_kept(records[: number + 1], lookup)
    assert any(slot >= STRAY for slot in blocks) == (seed in SEEDS_WITH_STRAYS)
    codes = {item_key(f"item-{n}"): lookup(item_key(f"item-{n}")) for n in range(12)}
    for event in events:
        assert event.codes == (codes[event.item_key].sid if codes[event.item_key] else None)


SEEDS_WITH_STRAYS = [seed for seed in range(16) if random.Random(seed).choice([1, 5, 60, 120]) > 50]


@pytest.mark.parametrize("history_events", [1, 16, 17, 512])
def test_at_least_so_many_events_are_kept_and_no_more_than_needed(history_events):
    records, state, blocks = listens(800), None, {}
    for first in range(0, len(records), 7):
        result = fold(state, records[first : first + 7], lookup, history_events)
        state = result.state
        blocks |= result.blocks
        known = len(history(state, blocks))
        done = min(len(records), first + 7)
        # Of those that left the ring.
        assert min(done, history_events + 50) <= known <= history_events + 50 + 2 * BLOCK_EVENTS
    assert len(blocks) == num_slots(history_events)
    assert seen(history(state, blocks)) == entries_kept(records, lookup)[-known:]


def test_one_listen_in_sixteen_writes_a_block():
    state, written = fold(None, listens(50), lookup, 512).state, 0
    for record in listens(160, first=50, at=1_050):
        result = fold(state, [record], lookup, 512)
        state = result.state
        written += len(result.blocks)
        assert all(len(value) <= 12 + 24 + 16 * 23 for value in result.blocks.values())
    assert written == 10


def test_a_late_upload_between_archived_listens_is_kept_as_strays():
    records = [*listens(60, at=1_000), *[(60 + n, Heard(f"late-{n}", "late", 1_011)) for n in range(40)]]
    state, blocks = fold_all(records, 512)
    assert seen(history(state, blocks)) == entries_kept(records, lookup)
    strays = [decode_block(value) for slot, value in blocks.items() if slot >= STRAY]
    assert strays
    assert all(len(stray.entries) == 23 for stray in strays)


def test_more_strays_than_places_lose_the_first_that_came_and_double_none():
    records = [*listens(60, at=1_000), *[(60 + n, Heard(f"late-{n}", f"late-{n}", 1_012)) for n in range(90)]]
    state, blocks = fold_all(records, 20)
    events = seen(history(state, blocks))
    assert sum(slot >= STRAY for slot in blocks) == 20
    assert len(set(events)) == len(events)
    everything = entries_kept(records, lookup)
    assert set(events) < set(everything)
    assert len(events) >= 50 + 20


@pytest.mark.parametrize("before", [0, 1, 40, 512])
@pytest.mark.parametrize("after", [0, 1, 40, 512])
def test_a_changed_setting_leaves_no_hole_in_the_history(before, after):
    records, state, blocks = listens(900), None, {}
    everything = entries_kept(records, lookup)
    for first in range(0, 900, 3):
        result = fold(state, records[first : first + 3], lookup, (before, after, before)[first // 300])
        state = result.state
        blocks |= result.blocks
        events = seen(history(state, blocks))
        assert events == everything[: first + 3][-len(events) :]
        assert len(events) >= min(first + 3, 50)
    if after == before == 0:
        assert not blocks
        assert state == fold(None, records, lookup).state
    if before == after == 512:
        assert len(events) >= 562


def test_a_state_of_version_1_continues_with_blocks():
    model, state = Model(), None
    for record in listens(70):
        model.fold(*record, lookup)
        state = model.to_bytes_v1()
        assert seen(history(state, {})) == [(e["key"], e["at"]) for e in model.ring]
        assert describe(state) == describe(model.to_bytes()) | {"layout_version": 1, "size_bytes": len(state)}
    assert fold(state, [(70, Heard("e70", "a", 2_000))], lookup).state[0] == 2
    state, blocks = fold_all_from(state, listens(200, first=70, at=2_000))
    assert seen(history(state, blocks)) == entries_kept([*listens(70), *listens(200, first=70, at=2_000)], lookup)[20:]


def fold_all_from(state, records):
    result = fold(state, records, lookup, 512)
    return result.state, result.blocks


@pytest.mark.parametrize(
    "damage", [lambda v: v[:24], lambda v: v[:4] + b"\x05" + v[5:], lambda v: v[:5] + b"\x02" + v[6:]]
)
def test_damaged_state_of_version_1_is_refused(damage):
    model = Model()
    model.fold(0, Heard("e", "a", 1), lookup)
    with pytest.raises(StateError, match="user state: expected"):
        describe(damage(model.to_bytes_v1()))


@given(st.integers(0, 10**6), st.integers(0, 130), st.integers(0, 250))
@settings(max_examples=100, deadline=None)
def test_it_does_not_matter_when_an_erasure_is_applied(seed, erased_at, cut):
    # An erasure takes the ids of the last events: without them a repeat of a newer one is no repeat.
    records = late_listens(seed, repeats=1)
    erased = erase_all(None, {}, erased_at)
    early = fold(erased.state, records, lookup, 512)
    state, blocks = fold_all(records[:cut], 512)
    erased = erase_all(state, blocks, erased_at)
    blocks = {slot: value for slot, value in (blocks | dict(erased.blocks)).items() if value is not None}
    assert all(event.at > erased_at for event in history(erased.state, blocks))
    assert all(at > erased_at for value in blocks.values() for at in times(value))
    late = fold(erased.state, records[cut:], lookup, 512)
    assert seen(history(late.state, blocks | dict(late.blocks))) == seen(history(early.state, early.blocks))


def times(value: bytes) -> list[int]:
    block = decode_block(value)
    step = 17 + 2 * block.num_levels
    return [int.from_bytes(block.entries[n + 8 : n + 14], "little") for n in range(0, len(block.entries), step)]


def test_erasing_everything_deletes_all_blocks_and_resets_their_count():
    state, blocks = fold_all(listens(900), 512)
    erased = erase_all(state, blocks, 5_000)
    assert erased.blocks == dict.fromkeys(blocks)
    assert len(erased.state) == 27
    assert erase_all(erased.state, {}, 5_000) == (erased.state, {})


def test_a_full_ring_with_everything_in_it_fits_1400_bytes():
    table = {item_key(f"i{n}"): StoredSid(f"{n % 4:012x}", (n, n, n)) for n in range(200)}
    records = [(n, Heard(f"e{n}", f"i{n}", n + 10)) for n in range(200)]
    assert len(fold(None, records, table.get, 512).state) == 1_394
    assert len(fold(erase_all(None, {}, 5).state, records, table.get, 512).state) == 1_400


def test_keys_of_blocks_lie_together_and_are_no_user_ids():
    users = ["a", "ab", "a\x00", "ÿ", "\U0010ffff"]
    keys = [block_key(user.encode(), slot) for user in users for slot in (0, 5, 255, STRAY, STRAY + 511)]
    assert [split_block_key(key) for key in keys] == [
        (user.encode(), slot) for user in users for slot in (0, 5, 255, STRAY, STRAY + 511)
    ]
    for user in users:
        own = [key for key in sorted(keys) if key.startswith(block_prefix(user.encode()))]
        assert [split_block_key(key)[1] for key in own] == [0, 5, 255, STRAY, STRAY + 511]
    for key in (b"", b"a", b"\xff\xffname", b"\xff\xff" + b"\xff" * 5, b"\xffa\xff\x00\x00", "ÿÿÿÿÿÿ".encode()):
        assert split_block_key(key) is None


block = fold(fold(None, listens(50), lookup).state, listens(1, 50, 2_000), lookup, 512).blocks[0]


@pytest.mark.parametrize("damaged", [b"", block[:11], block[:-1], block + b"\x00", block[:2] + b"\x0f" + block[3:]])
def test_damaged_block_is_refused(damaged):
    with pytest.raises(StateError, match="block of a user: expected"):
        decode_block(damaged)


def test_newer_block_is_refused():
    with pytest.raises(StateError, match="expected layout version 1, got 2"):
        decode_block(b"\x02" + block[1:])
