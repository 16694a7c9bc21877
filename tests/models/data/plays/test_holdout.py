"""Held-out plays of each split rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.data.plays import Play, SplitOptions
from sidestream.models.data.plays.holdout import HeldOut, hold_out, session_begins, split_statement

MINUTE = 60_000


def play(at, item="i", signal="listen", length=0, session_id=None):
    return Play("u", item, at, at - length, at, length or None, None, signal, session_id=session_id)


def plays(*items, gap=1):
    return [
        play(1_000 + MINUTE * gap * n, *(item if isinstance(item, tuple) else (item,))) for n, item in enumerate(items)
    ]


def held(found, begins=(0,), cuts=None, **options):
    return hold_out(found, list(begins), SplitOptions(**options), cuts or {})


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (("a", "b"), HeldOut(2)),
        (("a", "b", "c"), HeldOut(2, 2, 1)),
        (("a", "b", "c", ("d", "skip")), HeldOut(2, 2, 1)),
        (("a", "b", ("c", "dislike"), "d", ("e", "skip")), HeldOut(3, 3, 1)),
        (("a", ("b", "skip"), "c"), HeldOut(3)),
        ((("a", "skip"), ("b", "skip"), ("c", "skip")), HeldOut(3)),
    ],
)
def test_last(items, expected):
    assert held(plays(*items), rule="last") == expected


@pytest.mark.parametrize(
    ("items", "begins", "expected"),
    [
        (("a", "b", "c"), (0,), HeldOut(3)),
        (("a", "b", "a", "c", "d"), (0, 2), HeldOut(2, 3, 1)),
        (("a", "b", "b", "a"), (0, 2), HeldOut(2, 3, 1)),
        (("a", "b", "a", ("c", "skip")), (0, 2), HeldOut(2, 2, 1)),
        (("a", "b", ("c", "skip")), (0, 2), HeldOut(3)),
        (("a", "c"), (0, 1), HeldOut(1, 1, None)),
    ],
)
def test_session(items, begins, expected):
    assert held(plays(*items), begins, rule="session") == expected


@pytest.mark.parametrize(
    ("items", "valid_from", "test_from", "expected"),
    [
        (("a", "b", "c", "d"), 1, 3, HeldOut(3, 3, 1)),
        (("a", "b", "c", "d"), 3, 3, HeldOut(3, 3, None)),
        (("a", ("b", "skip"), "c", ("d", "skip"), "e"), 1, 3, HeldOut(3, 4, 2)),
        (("a", "b"), 5, 6, HeldOut(2)),
    ],
)
def test_time(items, valid_from, test_from, expected):
    cuts = {"valid_from": 1_000 + MINUTE * valid_from, "test_from": 1_000 + MINUTE * test_from}
    assert held(plays(*items), cuts=cuts, rule="time") == expected


def test_a_pause_ends_a_session_but_a_long_play_does_not():
    gap = 30 * MINUTE
    episode = play(1_000 + 3 * 60 * MINUTE, length=170 * MINUTE)
    assert session_begins([play(1_000), episode, play(episode.at + gap), play(episode.at + 2 * gap + 1)], gap) == [0, 3]
    started = Play("u", "i", 0, 0, 90 * MINUTE)
    assert session_begins([started, play(100 * MINUTE), play(131 * MINUTE)], gap) == [0, 2]


def test_sessions_of_the_source_go_before_pauses():
    found = [play(0, session_id="x"), play(99 * MINUTE, session_id="x"), play(99 * MINUTE + 1, session_id="y")]
    assert session_begins(found, 30 * MINUTE) == [0, 2]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["listen", "skip", "like"]), st.integers(0, 90)), max_size=12
    ),
    st.sampled_from(["none", "last", "session", "time"]),
)
def test_targets_lie_where_they_may(steps, rule):
    at, found = 1_000, []
    for item, signal, pause in steps:
        at += pause * MINUTE
        found.append(play(at, item, signal))
    begins = session_begins(found, 30 * MINUTE)
    middle = 1_000 + 4 * 60 * MINUTE
    chosen = hold_out(found, begins, SplitOptions(rule), {"valid_from": middle, "test_from": middle + 60 * MINUTE})
    assert 0 <= chosen.kept <= len(found)
    for target in (chosen.test, chosen.valid):
        assert target is None or found[target].signal != "skip"
    assert chosen.test is None or chosen.kept <= chosen.test < len(found)
    assert chosen.valid is None or chosen.valid < chosen.kept


def test_every_rule_is_described_in_the_manifest():
    protocols = [split_statement(SplitOptions(rule)).protocol for rule in ("none", "last", "session", "time")]
    assert protocols == ["none", "leave_one_out", "last_session", "global_time"]
