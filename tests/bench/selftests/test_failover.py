"""The benchmark of failover: made-up states, who asks when, pauses; and its smallest size on a real Kafka."""

import pytest

from sidestream.models.history import split_block_key
from sidestream.models.history.layout import MAX_RING, NO_WATERMARK, decode, entry_bytes
from tests.bench.failover.__main__ import moved_users, parse, rolling_result
from tests.bench.failover.freshness import GIVE_UP_S, Asking
from tests.bench.failover.group import Pause, Restart, find_pauses
from tests.bench.fleet.states import make_states
from tests.bench.support.open_loop import Answer, Load
from tests.bench.support.rig import partition_of
from tests.bench.support.smoke import last_line


@pytest.mark.slow
@pytest.mark.broker
def test_smallest_size_answers_everybody(kafka):
    line = last_line("failover", "--bootstrap", kafka.bootstrap, "--sampled", "40", "--phases", "standby,dynamic")
    checks = {check["name"]: check["value"] for check in line["checks"]}
    assert (checks["unanswered_users"], checks["lost_sessions"], checks["bad_exits"]) == (0, 0, 0)
    assert checks["failover_standby_s"] is not None
    assert checks["rolling_answered"] is not None


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_states_are_full_and_take_the_first_listen_of_a_topic(blocks):
    log = make_states(range(20), 4, blocks)
    keys = {key: value for records in log for key, value in records}
    assert len(keys) == 20 * (1 + blocks)
    for number, records in enumerate(log):
        for key, value in records:
            slot = split_block_key(key)
            user = key if slot is None else slot[0]
            assert partition_of(user, 4) == number
            if slot is None:
                state = decode(value)
                assert (state.watermark, state.num_blocks) == (NO_WATERMARK, blocks)
                assert len(state.ring) == MAX_RING * entry_bytes(state.num_levels)
    assert len(set(keys.values())) == len(keys)


def test_who_has_no_fresh_answer_asks_again():
    asking = Asking({"a": 7, "b": 3}, {"a": 0.0, "b": 0.0})
    assert asking.take_due(1.0) == ["a", "b"]
    assert asking.take_due(1.1) == []
    asking.take(Answer("s1", "a", 6), 1.2)
    asking.take(Answer("s2", "b", 3), 1.2)
    asking.take(Answer("s3", "stranger", 9), 1.2)
    assert asking.take_due(2.0) == ["a"]
    assert asking.take_due(2.0 + GIVE_UP_S) == ["a"]
    assert not asking.is_over
    asking.take(Answer("s4", "a", 9), 8.0)
    asking.take(Answer("s1", "a", 9), 9.0)
    assert asking.is_over
    assert (asking.fresh_s, asking.num_outdated) == ({"a": 8.0, "b": 1.2}, 1)
    assert asking.take_due(99.0) == []


def test_only_users_of_moved_partitions_ask():
    options = parse(["--smoke", "--sampled", "30"])
    users = moved_users(options, [0, 5])
    assert len(users) == 30
    assert {partition_of(user.encode(), options.partitions) for user in users} == {0, 5}


def load_of(*asked):
    """Session-starts of one user each: user, due, answered."""
    load = Load()
    for number, (user, at_s, answered_s) in enumerate(asked):
        load.scheduled[f"s{number}"], load.users[f"s{number}"] = at_s, user
        if answered_s is not None:
            load.answered[f"s{number}"] = answered_s
    return load


def test_late_answers_that_follow_each_other_are_one_pause():
    first = "user-0"
    number = partition_of(first.encode(), 4)
    second = next(u for n in range(99) if partition_of((u := f"user-{n}").encode(), 4) != number)
    load = load_of(
        (first, 0.0, 0.1),
        (first, 1.0, 4.0),
        (second, 1.5, 1.6),
        (first, 2.0, 4.0),
        (first, 4.0, 4.1),
        (first, 6.0, None),
    )
    assert find_pauses(load, 4, 9.0) == [Pause(number, 1.0, 3.0), Pause(number, 6.0, 3.0)]
    result = rolling_result(load, [Restart("w", 0, 1.0, 2.0, 3.0)], 4, 9.0)
    assert (result["lost"], result["answered_share"], result["pauses"]) == (1, 0.5, 2)
    assert result["restarts"] == [
        {"worker": "w", "code": 0, "stop_s": 1.0, "ready_s": 1.0, "pauses": 1, "longest_pause_s": 3.0}
    ]
