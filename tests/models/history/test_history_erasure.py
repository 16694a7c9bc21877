"""Erasure: removed data, protection against replays, and independence of the time of application."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.errors import StateError
from sidestream.models.history import MAX_RING, describe, erase, expire, fold, forget, is_erased, is_idle, may_forget
from sidestream.models.history.layout import event_id_bytes
from sidestream.tokenizer.catalogue import StoredSid
from sidestream.tokenizer.sid import item_key
from tests.models.history.state_model import Heard, Model
from tests.models.history.test_history_fold import logs, lookups

BARE_BYTES = 27
moments = st.integers(0, 40) | st.integers(0, 2**48 - 1)


def lookup(key: int) -> StoredSid | None:
    return StoredSid(f"{key % 3:012x}", (key % 256, 1, 2)) if key % 4 else None


def listens(count: int, first: int = 0, at: int = 1_000) -> list[tuple[int, Heard]]:
    return [(first + n, Heard(f"e{first + n}", f"item-{(first + n) % 9}", at + n)) for n in range(count)]


@given(logs(max_size=80), lookups(), st.lists(st.tuples(st.integers(0, 80), moments), max_size=4))
@settings(max_examples=100, deadline=None)
def test_erasures_among_listens_equal_the_reference_to_the_byte(records, lookup, erasures):
    model, state = Model(), None
    for number in range(len(records) + 1):
        for _, at in (erasure for erasure in erasures if erasure[0] == number):
            model.erase(at)
            state = erase(state, at)
            assert state == model.to_bytes()
        if number < len(records):
            expected = model.fold(*records[number], lookup)
            result = fold(state, [records[number]], lookup)
            state = result.state
            assert (state, result.erased) == (model.to_bytes(), int(expected == "erased"))


@given(st.lists(st.integers(0, 60), max_size=90), st.integers(0, 60), st.data())
@settings(max_examples=150, deadline=None)
def test_it_does_not_matter_when_an_erasure_is_applied(times, erased_at, data):
    records = [(n, Heard(f"e{n}", f"item-{n % 9}", at)) for n, at in enumerate(times)]
    early = fold(erase(None, erased_at), records, lookup).state
    cut = data.draw(st.integers(0, len(records)))
    state = erase(fold(None, records[:cut], lookup).state if cut else None, erased_at)
    state = fold(state, records[cut:], lookup).state
    words, others = describe(state), describe(early)
    assert [(e["item_key"], e["at"], e["sid"], e["tokenizer_version"]) for e in words["history"]] == [
        (e["item_key"], e["at"], e["sid"], e["tokenizer_version"]) for e in others["history"]
    ]
    assert [words[name] for name in ("watermarks", "erased_at")] == [
        others[name] for name in ("watermarks", "erased_at")
    ]
    if sum(at > erased_at for at in times) <= MAX_RING:
        assert words["listens_folded"] == others["listens_folded"]
        assert set(words["tokenizer_versions"]) == set(others["tokenizer_versions"])


def test_nothing_of_an_erased_user_is_left_but_two_watermarks():
    records = listens(60)
    full = fold(None, records, lookup).state
    state = erase(full, 2_000)
    assert len(state) == BARE_BYTES
    assert not any(item_key(h.item_id).to_bytes(8, "little") in state for _, h in records)
    assert not any(event_id_bytes(h.event_id) in state for _, h in records)
    words = describe(state)
    assert (words["watermarks"], words["erased_at"], words["layout_version"]) == ({"listens": 59}, 2_000, 2)
    assert (words["history"], words["recent_event_ids"], words["tokenizer_versions"]) == ([], [], [])
    assert (words["listens_folded"], words["listens_too_late"]) == (0, 0)
    assert is_erased(state)
    assert not is_erased(full)
    assert not is_erased(None)


def test_old_listens_do_not_come_back_by_replay_nor_late():
    state = erase(fold(None, listens(60), lookup).state, 2_000)
    replayed = fold(state, listens(60), lookup)
    assert replayed.state is state
    assert replayed.stale == 60
    late = fold(state, listens(5, first=60, at=1_990), lookup)
    assert (late.erased, late.applied, is_erased(late.state)) == (5, 0, True)
    assert describe(late.state)["watermarks"] == {"listens": 64}
    again = fold(late.state, listens(1, first=65, at=2_001), lookup)
    assert (again.applied, is_erased(again.state)) == (1, False)
    # An erasure that comes twice, or an older one after it, takes nothing of the new life.
    assert erase(again.state, 2_000) is again.state
    assert erase(again.state, 1_500) is again.state


def test_a_user_who_is_not_known_is_erased_ahead_of_late_listens():
    state = erase(None, 2_000)
    assert len(state) == BARE_BYTES
    assert fold(state, listens(3), lookup).erased == 3


def test_what_an_erasure_left_goes_when_the_source_holds_nothing_older():
    state = erase(fold(None, listens(60), lookup).state, 2_000)
    assert not may_forget(state, source_start_offset=59, source_start_at=9_000)
    assert not may_forget(state, source_start_offset=60, source_start_at=2_000)
    assert may_forget(state, source_start_offset=60, source_start_at=2_001)
    assert not may_forget(None, 60, 9_000)
    assert not may_forget(fold(None, listens(3), lookup).state, 60, 9_000)
    assert forget(state) is None
    assert forget(None) is None


def test_forgetting_leaves_the_new_life_of_a_user():
    never = fold(None, listens(3, first=60, at=3_000), lookup).state
    assert forget(never) is never
    erased = erase(fold(None, listens(60), lookup).state, 2_000)
    assert forget(fold(erased, listens(3, first=60, at=3_000), lookup).state) == never


def test_a_full_ring_after_an_erasure_fits_1400_bytes():
    versions = itertools.cycle(f"{number:012x}" for number in range(4))
    state = fold(erase(None, 10), listens(60), lambda _: StoredSid(next(versions), (1, 2, 3))).state
    assert len(state) == 1_393


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: v[:-1],
        lambda v: b"\x01" + v[1:],
        lambda v: v[:4] + bytes([v[4] & 15]) + v[5:],
        lambda v: v[:4] + bytes([v[4] | 32]) + v[5:],
    ],
)
def test_damaged_erasures_are_refused(damage):
    with pytest.raises(StateError, match="user state: expected"):
        describe(damage(erase(fold(None, listens(3), lookup).state, 1_001)))


@pytest.mark.parametrize(
    ("before_at", "before_offset", "idle"),
    [(1_003, 3, True), (1_002, 3, False), (1_003, 2, False), (2**48, 2**60, True), (0, 0, False)],
)
def test_a_user_is_idle_if_the_newest_listen_is_old_by_both_clocks(before_at, before_offset, idle):
    state = fold(None, listens(3), lookup).state
    assert is_idle(state, before_at, before_offset) is idle


def test_a_late_listen_from_long_ago_keeps_its_user():
    state = fold(None, [(7, Heard("e", "item-1", 1_000))], lookup).state
    assert not is_idle(state, 2_000, 7)
    assert is_idle(state, 2_000, 8)


def test_an_idle_user_leaves_nothing_but_what_an_erasure_needs():
    assert expire(fold(None, listens(3), lookup).state) is None
    erased = erase(fold(None, listens(3), lookup).state, 1_001)
    left = expire(erased)
    assert is_erased(left)
    assert len(left) == BARE_BYTES
    assert describe(left)["watermarks"] == {"listens": 2}
    assert not is_idle(left, 2**48, 2**60), "it is up to may_forget from here on"
    assert fold(left, [(9, Heard("e9", "item-1", 1_002))], lookup).erased == 1
