"""Clocks that differ: what holds for listens that are dated ahead or behind, within the bound that decoding keeps.

A listen is never dated more than `topics.max_future_ms` after its Kafka timestamp (`decode`), and brokers bound that in
turn, so "ahead" is an hour and some minutes at most.
"""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.history import MAX_RING, describe, fold

NOW = 1_790_000_000_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000


def listen(name, at):
    return SimpleNamespace(event_id=name, item_id=name, at=at, listened_ms=None, duration_ms=None, signal="listen")


def folded(*ats, state=None, first_offset=0):
    records = [(first_offset + n, listen(f"{first_offset + n}", at)) for n, at in enumerate(ats)]
    return fold(state, records, lambda key: None)


def times(state):
    newest_first = describe(state, lambda key: None)["history"]
    return [row["at"] for row in reversed(newest_first)]


@pytest.mark.parametrize("off_ms", [-HOUR_MS, HOUR_MS])
def test_one_listen_an_hour_off_takes_its_place_by_time_and_hinders_no_other(off_ms):
    right = [NOW + n * MINUTE_MS for n in range(20)]
    result = folded(*right[:10], NOW + off_ms, *right[10:])
    assert (result.applied, result.late, result.stale, result.repeats) == (21, 0, 0, 0)
    assert times(result.state) == sorted([*right, NOW + off_ms])


def test_in_a_full_history_a_listen_from_before_all_of_it_is_late_and_one_ahead_is_not():
    full = [NOW + n * MINUTE_MS for n in range(MAX_RING)]
    result = folded(*full, NOW - HOUR_MS, NOW + 2 * HOUR_MS)
    assert (result.applied, result.late) == (MAX_RING + 1, 1)
    assert times(result.state) == [*full[1:], NOW + 2 * HOUR_MS]


def test_a_whole_history_dated_an_hour_ahead_refuses_right_listens_for_that_hour_and_no_longer():
    """The worst case: fifty events in a row by a device whose clock is ahead."""
    ahead = folded(*(NOW + HOUR_MS + n for n in range(MAX_RING)))
    during = folded(*(NOW + n * MINUTE_MS for n in range(1, 60)), state=ahead.state, first_offset=100)
    assert (during.applied, during.late) == (0, 59)
    after = folded(*(NOW + n * MINUTE_MS for n in range(61, 61 + MAX_RING)), state=during.state, first_offset=200)
    assert (after.applied, after.late) == (MAX_RING, 0)
    assert times(after.state) == [NOW + n * MINUTE_MS for n in range(61, 61 + MAX_RING)]


@given(
    st.lists(st.integers(-70, 70), min_size=1, max_size=150),
    st.lists(st.integers(1, 5), min_size=150, max_size=150),
)
def test_whatever_the_clocks_say_listens_are_late_only_behind_fifty_later_ones(skews, gaps):
    ats, late, now = [], 0, NOW
    for skew, gap in zip(skews, gaps, strict=False):
        now += gap * MINUTE_MS
        newer = sorted(ats)[-MAX_RING:]
        late += len(newer) == MAX_RING and now + skew * MINUTE_MS < newer[0]
        ats.append(now + skew * MINUTE_MS)
    result = folded(*ats)
    assert (result.late, result.applied, result.stale) == (late, len(ats) - late, 0)
    assert times(result.state) == sorted(ats)[-MAX_RING:]
