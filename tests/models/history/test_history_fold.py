"""The fold: byte-identical to the reference in plain Python, for any batching and any number of replays."""

import random
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.errors import StateError
from sidestream.models.history import MAX_EVENT_IDS, MAX_RING, SIGNALS, describe, fold
from sidestream.models.records import Listen, Signal
from sidestream.tokenizer.catalogue import StoredSid
from sidestream.tokenizer.sid import item_key
from tests.models.history.state_model import Heard, Model

ITEMS = [f"item-{n}" for n in range(12)]
VERSIONS = ["0123456789ab", "ba9876543210", "not hexadecimal", "v4", "v5", "ABCDEF012345"]
# Durations are powers of two, so that the reference's float division is exact.
heard = st.builds(
    Heard,
    event_id=st.sampled_from([f"e{n}" for n in range(90)]),
    item_id=st.sampled_from(ITEMS),
    at=st.integers(0, 40) | st.integers(0, 2**48 - 1),
    listened_ms=st.none() | st.integers(0, 5_000),
    duration_ms=st.none() | st.sampled_from([1, 1024, 4096]),
    signal=st.sampled_from(SIGNALS),
)


@st.composite
def logs(draw, max_size=140):
    listens = draw(st.lists(heard, max_size=max_size))
    gaps = draw(st.lists(st.integers(1, 3), min_size=len(listens), max_size=len(listens)))
    offset, records = draw(st.sampled_from([-1, 0, 2**40])), []
    for gap, listen in zip(gaps, listens, strict=True):
        offset += gap
        records.append((offset, listen))
    return records


@st.composite
def lookups(draw):
    """Items of several tokenizer versions, mostly of one number of levels, some unknown."""
    levels = draw(st.sampled_from([(3,), (3,), (1, 3, 4)]))
    versions = draw(st.lists(st.sampled_from(VERSIONS), min_size=1, unique=True))
    table = {}
    for item_id in ITEMS:
        if draw(st.integers(0, 4)):
            codes = st.tuples(*[st.integers(0, 65_535)] * draw(st.sampled_from(levels)))
            table[item_key(item_id)] = StoredSid(draw(st.sampled_from(versions)), draw(codes))
    return table.get


@given(logs(), lookups())
@settings(max_examples=120, deadline=None)
def test_fold_equals_reference_to_the_byte(records, lookup):
    model, state = Model(), None
    for record in records:
        expected = model.fold(*record, lookup)
        result = fold(state, [record], lookup)
        state = result.state
        assert state == model.to_bytes()
        assert (result.applied, result.repeats, result.late, result.stale) == tuple(
            int(expected == outcome) for outcome in ("applied", "repeat", "late", "stale")
        )


@pytest.mark.parametrize("seed", range(40))
def test_long_logs_with_more_versions_than_the_table_holds(seed):
    # Hypothesis rarely fills a ring with five versions at once; here every log does.
    rng = random.Random(seed)
    levels = [3] * 9 + [rng.choice([3, 2])] * (seed % 3)
    table = {
        item_key(item_id): StoredSid(rng.choice(VERSIONS), tuple(rng.choices(range(65_536), k=rng.choice(levels))))
        for item_id in ITEMS[seed % 2 :]
    }
    records = [(n, Heard(f"e{n}", rng.choice(ITEMS), rng.randrange(n + 5))) for n in range(150)]
    model, state = Model(), None
    for record in records:
        model.fold(*record, table.get)
        state = fold(state, [record], table.get).state
        assert state == model.to_bytes()
    assert fold(None, records, table.get).state == state


@given(logs(), lookups(), st.data())
@settings(max_examples=120, deadline=None)
def test_any_batching_and_any_replay_give_the_same_bytes(records, lookup, data):
    whole = fold(None, records, lookup)
    state, done = None, 0
    while done < len(records):
        size = data.draw(st.integers(1, len(records) - done))
        again = data.draw(st.integers(0, done))
        result = fold(state, records[again : done + size], lookup)
        assert result.stale == done - again
        state, done = result.state, done + size
    if records:
        assert state == whole.state
        replayed = fold(state, records, lookup)
        assert replayed == (state, 0, 0, 0, len(records), 0, {})
        assert replayed.state is state
    assert whole.applied + whole.late + whole.repeats == len(records)


@given(logs(), lookups())
@settings(max_examples=60, deadline=None)
def test_ring_is_sorted_and_bounded(records, lookup):
    words = describe(fold(None, records, lookup).state)
    times = [entry["at"] for entry in words["history"]]
    assert times == sorted(times, reverse=True)
    assert len(times) <= MAX_RING
    assert len(words["recent_event_ids"]) <= MAX_EVENT_IDS
    assert words["listens_folded"] - words["listens_too_late"] >= len(times)


def test_full_ring_at_three_levels_with_four_versions_fits_1400_bytes():
    table = {item_key(f"i{n}"): StoredSid(f"{n % 4:012x}", (n, n, n)) for n in range(60)}
    state = fold(None, [(n, Heard(f"e{n}", f"i{n}", n)) for n in range(60)], table.get).state
    assert len(state) == 1_387
    words = describe(state)
    assert (len(words["history"]), len(words["tokenizer_versions"])) == (MAX_RING, 4)


def test_repeat_moves_the_watermark_and_nothing_else():
    def lookup(_):
        return StoredSid("v1", (1, 2, 3))

    first = fold(None, [(4, Heard("e", "a", 10))], lookup)
    repeat = fold(first.state, [(9, Heard("e", "b", 99))], lookup)
    assert (repeat.applied, repeat.repeats) == (0, 1)
    before, after = describe(first.state), describe(repeat.state)
    assert (before.pop("watermarks"), after.pop("watermarks")) == ({"listens": 4}, {"listens": 9})
    assert before == after


def test_event_id_is_forgotten_after_32_others():
    records = [(n, Heard(f"e{n}", "a", n)) for n in range(MAX_EVENT_IDS)]
    state = fold(None, records, lambda _: None).state
    assert fold(state, [(100, Heard("e0", "a", 100))], lambda _: None).repeats == 1
    state = fold(state, [(101, Heard("new", "a", 101))], lambda _: None).state
    assert fold(state, [(102, Heard("e0", "a", 102))], lambda _: None).applied == 1


def test_late_listen_goes_in_by_time_and_older_than_all_is_counted():
    records = [(n, Heard(f"e{n}", "a", 1_000 + n)) for n in range(MAX_RING)]
    state = fold(None, records, lambda _: None).state
    inside = fold(state, [(100, Heard("x", "b", 1_010))], lambda _: None)
    assert (inside.applied, inside.late) == (1, 0)
    history = describe(inside.state)["history"][::-1]
    # Of equal times, the one later in the log is later in the ring; the oldest was evicted.
    assert history[10]["item_key"] == f"{item_key('b'):016x}"
    assert [entry["at"] for entry in history] == [*range(1_001, 1_011), *range(1_010, 1_050)]
    beyond = fold(inside.state, [(101, Heard("y", "b", 1_000))], lambda _: None)
    assert (beyond.applied, beyond.late) == (0, 1)
    assert describe(beyond.state)["listens_too_late"] == 1


def test_signals_are_those_of_the_contract():
    assert typing.get_args(Signal) == SIGNALS


def test_topic_value_itself_can_be_folded():
    listen = Listen(
        event_id="e", user_id="u", item_id="a", at=1_700_000_000_000, listened_ms=30, duration_ms=60, signal="like"
    )
    entry = describe(fold(None, [(0, listen)], lambda _: None).state)["history"][0]
    assert (entry["share"], entry["signal"], entry["sid"]) == (0.5, "like", None)


@pytest.mark.parametrize("listen", [Heard("e", "a", -1), Heard("e", "a", 2**48), Heard("e", "a", 1, signal="hum")])
def test_listen_outside_the_contract_is_refused_by_offset(listen):
    with pytest.raises(StateError, match="source offset 77"):
        fold(None, [(77, listen)], lambda _: None)


good = fold(None, [(0, Heard("e", "a", 1))], lambda _: StoredSid("v1", (1, 2, 3))).state


@pytest.mark.parametrize("version", [0, 3, 255])
def test_unknown_layout_version_is_refused(version):
    with pytest.raises(StateError, match=f"expected a layout version up to 2, got {version}"):
        fold(bytes([version]) + good[1:], [], lambda _: None)


@pytest.mark.parametrize("damaged", [b"", b"\x02", good[:20], good[:-1], good + b"\x00", good[:4] + b"\x41" + good[5:]])
def test_damaged_state_is_refused(damaged):
    with pytest.raises(StateError, match="user state: expected"):
        describe(damaged)


def test_counts_stay_at_their_maximum():
    full = good[:5] + b"\xff" * 8 + good[13:]
    words = describe(fold(full, [(1, Heard("e2", "a", 2))], lambda _: None).state)
    assert (words["listens_folded"], words["listens_too_late"]) == (2**32 - 1, 2**32 - 1)
