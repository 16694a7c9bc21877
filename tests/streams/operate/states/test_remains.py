"""Erased users who are still held: in the changelog, in a table that a worker left behind, in a wrong partition."""

from pathlib import Path

import pytest

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import block_key, erase, fold
from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.operate.states.offline import OfflineStates
from sidestream.streams.operate.states.remains import Asked, kept_in_changelog, kept_in_table, misplaced_users
from sidestream.streams.operate.states.verify import _begins_after_pauses, _is_fold_of_a_rest

AT = 1_700_000_000_000
DAY_MS = 86_400_000


def rows(user: str, count: int) -> list[tuple[int, ListenRow]]:
    return [(n, ListenRow(event_id=f"e{n}", user_id=user, item_id=f"i{n}", at=AT + n)) for n in range(count)]


def values_of(user: str, count: int = 100) -> dict[bytes, bytes]:
    folded = fold(None, rows(user, count), lambda _: None, 64)
    return {user.encode(): folded.state} | {block_key(user.encode(), slot): x for slot, x in folded.blocks.items()}


def test_a_user_whose_erasure_was_applied_elsewhere_is_kept_in_a_changelog():
    values = values_of("u") | values_of("v")
    assert kept_in_changelog(values, Asked({b"u": AT, b"w": AT})) == [b"u"]
    assert kept_in_changelog(values, Asked()) == []
    erased = {key: value for key, value in values.items() if key[:1] != b"\xff"}
    erased[b"u"] = erase(values[b"u"], AT + 200)
    assert kept_in_changelog(erased, Asked({b"u": AT + 200})) == []
    block = next(key for key in values if key.startswith(b"\xffu"))
    assert kept_in_changelog({block: values[block]}, Asked({b"u": AT + 200})) == [b"u"], "a block alone"


def test_a_table_that_was_left_behind_keeps_users_who_were_erased_since():
    table = values_of("erased") | values_of("swept") | values_of("other") | values_of("asked")
    changelog = dict(table)
    changelog[b"erased"] = erase(table[b"erased"], AT + 200)
    for key in list(changelog):
        if b"swept" in key:
            del changelog[key]
    assert kept_in_table(table, changelog, Asked({b"asked": AT + 5})) == [b"asked", b"erased", b"swept"]
    assert kept_in_table(changelog, changelog, Asked()) == [b"erased"], "its blocks"
    assert kept_in_table({b"erased": changelog[b"erased"]}, changelog, Asked()) == []
    assert kept_in_table({b"erased": b"?"}, changelog, Asked()) == [b"erased"]


def test_users_of_other_partitions_are_found():
    offline = OfflineStates(
        Clients(KafkaSettings(bootstrap="h:1")), build_topics(TopicSettings()), LaneSettings(), "group", Path("absent")
    )
    here = partition_of(b"u", 8)
    users = [f"user-{n}".encode() for n in range(50)]
    there = sorted(user for user in users if partition_of(user, 8) != here)
    values = dict.fromkeys([*users, b"u", block_key(b"u", 0)], b"")
    assert misplaced_users(offline, here, values) == there


@pytest.mark.parametrize(
    ("times", "now", "begins"),
    [
        ([], 100, []),
        ([0, 1, 2], 3, []),
        ([0, 1, 12], 13, [2]),
        ([0, 10, 20], 29, [1, 2]),
        ([0, 1], 20, [2]),
    ],
)
def test_a_user_may_have_been_removed_after_each_pause(times, now, begins):
    found = _begins_after_pauses([AT + time * DAY_MS for time in times], 10, AT + now * DAY_MS)
    assert found == begins
    assert _begins_after_pauses(times, None, now) == []


def test_a_state_that_began_anew_after_a_pause_is_the_fold_of_the_rest():
    heard = rows("u", 10)
    rest = fold(None, heard[6:], lambda _: None).state
    assert _is_fold_of_a_rest(rest, None, heard, [3, 6], lambda _: None, 0)
    assert not _is_fold_of_a_rest(rest, None, heard, [3], lambda _: None, 0)
    assert _is_fold_of_a_rest(None, None, heard, [10], lambda _: None, 0)
    assert not _is_fold_of_a_rest(None, None, heard, [6], lambda _: None, 0)
