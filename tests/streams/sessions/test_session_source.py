"""Where session-starts are read from: starts, ages, partitions by themselves, and what happens when Kafka fails."""

import asyncio

import pytest
from aiokafka.errors import CommitFailedError, KafkaError, TopicAuthorizationFailedError
from structlog.testing import capture_logs

from sidestream.streams.errors import AccessError
from sidestream.streams.sessions import source
from tests.streams.sessions.session_fakes import AT, STARTS, record, until

HOUR_MS = 3_600_000


def many(count, first=0, partition=0, at=AT):
    return [record(first + number, partition, at=at) for number in range(count)]


async def test_a_group_without_offsets_begins_at_the_end_and_commits_it_first(bench):
    one = await bench(log={0: many(3), 1: []}, committed={})
    one.ready = set()
    assert one.lane.not_ready() == [f"{STARTS}: no partitions assigned yet"]
    one.host.errors = [CommitFailedError("rebalanced")]
    with capture_logs() as logs:
        await one.lane.on_assigned({0, 1})
        assert one.lane.not_ready() == [f"{STARTS}: start of 2 partitions not committed yet"]
        await until(lambda: not one.lane.not_ready())
    # Committed while the states are still restored: the worker may die before it answers anything.
    assert one.host.offsets == {0: 3, 1: 0}
    assert [(log["partition"], log["offsets"]) for log in logs if "before the group's" in log["event"]] == [
        (f"{STARTS}/0", 3)
    ]
    one.log.records[0] += many(2, first=3)
    one.ready = {0, 1}
    await until(lambda: one.answered == ["s3", "s4"])


async def test_the_heir_of_a_worker_without_a_commit_answers_what_came_since_its_start(bench):
    first = await bench(log={0: many(3)}, committed={})
    first.gate("s3")
    await first.lane.on_assigned({0})
    await until(lambda: not first.lane.not_ready())
    first.log.records[0] += many(1, first=3)
    await until(lambda: first.answerer.active)
    heir = await bench(log=first.log.records, committed=first.host.offsets)
    await heir.lane.on_assigned({0})
    await until(lambda: heir.answered == ["s3"])


async def test_a_group_without_offsets_may_begin_at_the_beginning(bench):
    one = await bench(log={0: many(3, first=7)}, committed={}, start="beginning")
    await one.lane.on_assigned({0})
    await until(lambda: one.answered == ["s7", "s8", "s9"])
    assert one.host.commits == [{0: 7}]


async def test_a_worker_without_partitions_is_ready(bench):
    one = await bench()
    await one.lane.on_assigned(set())
    assert one.lane.not_ready() == []
    await one.lane.on_revoked(set())
    assert one.lane.not_ready() == [f"{STARTS}: no partitions assigned yet"]


async def test_old_sessions_are_skipped_behind_the_current_ones(bench):
    now_ms = AT + HOUR_MS
    log = {0: [*many(20_000), *many(2, first=20_000, at=now_ms - 60_000)], 1: many(5, partition=1)}
    one = await bench(log=log, now_ms=now_ms)
    with capture_logs() as logs:
        await one.lane.on_assigned({0, 1})
        await until(lambda: one.lane.committable() == {0: 20_002, 1: 5})
        await one.lane.on_revoked({0, 1})
        await until(lambda: one.clients.consumers[0].is_stopped)
    assert one.answered == ["s20000", "s20001"]
    assert one.skipped("stale") == 20_005
    (line,) = [log for log in logs if log["event"] == "session-starts skipped"]
    assert (line["skipped"], line["partitions"], line["reason"]) == (20_005, 2, "stale")
    assert line["setting"] == "session.max_age_ms = 60000"
    assert "clock is behind" in line["cause"]


@pytest.mark.parametrize("num_current", [0, 2, 40])
async def test_sessions_without_a_timestamp_that_waited_are_answered(bench, num_current):
    """Nobody knows how old they are; offsets by time say nothing about them."""
    now_ms = AT + HOUR_MS
    waited = [record(n, at=-1 if n % 100 == 50 else AT) for n in range(1_000)]
    one = await bench(log={0: [*waited, *many(num_current, first=1_000, at=now_ms)]}, now_ms=now_ms)
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.committable() == {0: 1_000 + num_current})
    current = [f"s{n}" for n in range(1_000, 1_000 + num_current)]
    assert sorted(one.answered) == sorted([f"s{n}" for n in range(50, 1_000, 100)] + current)
    assert one.answerer.shed == []
    assert one.skipped("stale") == 990


async def test_few_sessions_without_a_timestamp_that_waited_are_answered(bench):
    one = await bench(log={0: many(3, at=-1)}, now_ms=AT + HOUR_MS)
    await one.lane.on_assigned({0})
    await until(lambda: one.answered == ["s0", "s1", "s2"])


async def test_old_sessions_between_current_ones_are_skipped_in_order(bench):
    now_ms = AT + HOUR_MS
    current = [record(offset, at=now_ms) for offset in (0, 300, 601)]
    old = [*many(299, first=1), *many(300, first=301)]
    one = await bench(log={0: sorted([*current, *old])}, now_ms=now_ms)
    one.gate("s300")
    await one.lane.on_assigned({0})
    await until(lambda: one.answered == ["s0", "s601"])
    await until(lambda: one.lane.committable() == {0: 300})
    one.answerer.gates["s300"].set()
    await until(lambda: one.lane.committable() == {0: 602})
    assert one.skipped("stale") == 599


async def test_many_that_are_too_old_are_taken_at_once(bench):
    one = await bench(now_ms=AT + HOUR_MS)
    await one.lane.on_assigned({0})
    await until(lambda: 0 in one.lane._source.positions)
    one.log.records[0] += many(300)
    await until(lambda: one.lane.committable() == {0: 300})
    assert one.clients.consumers[0].largest > 64


async def test_a_producer_whose_clock_is_behind_is_told_by_the_log(bench):
    one = await bench(now_ms=AT + HOUR_MS)
    await one.lane.on_assigned({0})
    await until(lambda: 0 in one.lane._source.positions)
    with capture_logs() as logs:
        one.log.records[0] += many(2)
        await until(lambda: one.lane.committable() == {0: 2})
        await one.lane.on_revoked({0})
        await until(lambda: one.clients.consumers[0].is_stopped)
    assert not one.sent
    (line,) = [log for log in logs if log["event"] == "session-starts skipped"]
    assert (line["skipped"], line["newest_age_s"]) == (2, 3_600.0)


@pytest.mark.parametrize(("at", "fields"), [(AT, {"max_age_ms": 0}), (-1, {})])
async def test_without_a_limit_or_a_timestamp_all_are_answered(bench, at, fields):
    one = await bench(now_ms=AT + HOUR_MS, **fields)
    await one.lane.on_assigned({0})
    await until(lambda: 0 in one.lane._source.positions)
    one.log.records[0] += many(3, at=at)
    await until(lambda: len(one.sent) == 3)


async def test_a_broker_that_cannot_look_up_times_skips_record_by_record(bench):
    one = await bench(log={0: [*many(100), record(100, at=AT + HOUR_MS)]}, now_ms=AT + HOUR_MS)
    one.clients.is_embedded = True
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.committable() == {0: 101})
    assert (one.answered, one.log.num_taken, one.skipped("stale")) == (["s100"], 101, 100)


async def test_a_partition_without_a_leader_delays_no_other(bench):
    one = await bench(log={0: many(1), 1: many(1, partition=1)})
    one.log.leaderless = {0}
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.lane.committable() == {1: 1})
    assert one.lane.unread({0: 9, 1: 3}) == {1: 2}


async def test_sessions_deleted_before_they_were_read_are_counted(bench):
    one = await bench(log={0: many(3, first=10)}, committed={0: 4})
    one.log.begins = {}
    with capture_logs() as logs:
        await one.lane.on_assigned({0})
        await until(lambda: one.lane.committable() == {0: 13})
        # Likewise when retention overtakes the reader.
        one.gate("s13")
        one.clients.consumers[0].positions[0] = 13
        one.log.begins[0], one.log.ends[0], one.log.records[0] = 20, 20, many(1, first=20)
        await until(lambda: one.lane.committable() == {0: 21})
    assert one.skipped("deleted") == 6 + 7
    assert [log["lost"] for log in logs if "deleted before" in log["event"]] == [6, 7]


async def test_a_topic_that_was_made_again_is_read_from_its_beginning(bench):
    one = await bench(log={0: many(2)}, committed={0: 70})
    with capture_logs() as logs:
        await one.lane.on_assigned({0})
        await until(lambda: one.lane.committable() == {0: 2})
    assert [log["position"] for log in logs if "recreated" in log["event"]] == [70]


async def test_the_reader_is_opened_again_at_the_read_positions(bench):
    one = await bench(log={0: many(3)})
    gates = one.gate("s0")
    await one.lane.on_assigned({0})
    await until(lambda: one.answered == ["s1", "s2"])
    done = one.lane.work({0: 3}).done
    with capture_logs():
        one.clients.fetch_errors, one.clients.unreachable = [KafkaError("gone")], 2
        await until(lambda: len(one.clients.consumers) == 4)
        one.log.records[0] += many(1, first=3)
        await until(lambda: one.answered == ["s1", "s2", "s3"])
    assert one.lane.work({0: 4}).done != done
    assert not one.lane.crashed
    gates["s0"].set()
    await until(lambda: one.lane.committable() == {0: 4})
    assert one.answered[3:] == ["s0"]


@pytest.mark.parametrize("num_held", [3, 40])
async def test_what_was_held_and_has_begun_does_not_begin_again_when_the_reader_is_opened_again(bench, num_held):
    one = await bench()
    one.ready = {1}
    await one.lane.on_assigned({0, 1})
    await until(lambda: set(one.lane._source.positions) == {0, 1})
    one.log.records[0] += many(num_held)
    await until(lambda: one.clients.consumers[0].positions[0] == num_held)
    # The other partition is busy: no fetch is without records, and none has any of this one.
    one.log.records[1] += many(3_000, first=1_000, partition=1)
    one.ready = {0, 1}
    await until(lambda: sum(partition == 0 for *_, partition in one.sent) == num_held)
    with capture_logs():
        one.clients.fetch_errors = [KafkaError("gone")]
        await until(lambda: one.lane._source.num_openings == 2)
        await until(lambda: one.lane.committable() == {0: num_held, 1: 4_000})
    assert not one.lane.crashed
    assert len(one.answered) == len(set(one.answered)) == num_held + 3_000


async def test_a_reader_that_is_told_to_stop_while_it_ends_for_an_error_is_not_opened_again(bench):
    one = await bench(log={0: many(2)})
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.committable() == {0: 2})
    source, is_ending, may_end = one.lane._source, asyncio.Event(), asyncio.Event()

    async def end_slowly(feed):
        try:
            await asyncio.Event().wait()
        finally:
            is_ending.set()
            await may_end.wait()

    source._deferred.run = end_slowly
    with capture_logs():
        one.clients.fetch_errors = [KafkaError("gone")]
        await until(lambda: source.num_openings == 2)
        one.clients.fetch_errors = [KafkaError("gone")]
        await until(is_ending.is_set)
        await one.lane.on_revoked({0})
        for _ in range(10):
            await asyncio.sleep(0)
        may_end.set()
        await until(lambda: not one.lane._futures)
    assert source.num_openings == 2


async def test_missing_rights_end_the_worker(bench):
    one = await bench(log={0: []})
    one.clients.fetch_errors = [TopicAuthorizationFailedError(STARTS)]
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.crashed)
    assert isinstance(one.lane.crash_reason, AccessError)


async def test_a_revocation_ends_a_partition_that_is_being_opened(bench):
    one = await bench(log={0: many(1)})
    one.log.leaderless = {0}
    await one.lane.on_assigned({0})
    await until(lambda: one.clients.consumers)
    await asyncio.sleep(0)
    await one.lane.on_revoked({0})
    await until(lambda: one.clients.consumers[0].is_stopped)
    assert not one.lane.crashed


async def test_partitions_that_stay_are_read_on_while_others_come_and_go(bench):
    one = await bench(log={0: many(2), 1: many(2, first=10, partition=1)})
    one.gate("s1")
    await one.lane.on_assigned({0})
    await until(lambda: one.answerer.active)
    one.log.records[0] += many(1, first=2)
    await one.lane.on_assigned({0, 1})
    one.answerer.gates["s1"].set()
    await until(lambda: sorted(one.answered) == ["s0", "s1", "s10", "s11", "s2"])
    assert len(one.clients.consumers) == 1
    await until(lambda: one.lane.committable() == {0: 3, 1: 12})
    await one.lane.on_assigned({0})
    one.log.records[1] += many(1, first=12, partition=1)
    one.log.records[0] += many(1, first=3)
    await until(lambda: "s3" in one.answered)
    assert "s12" not in one.answered
    await until(lambda: one.lane.committable() == {0: 4})
    assert set(one.lane.unread({0: 4, 1: 99})) == {0}
    await one.lane.on_assigned({0, 1})
    await until(lambda: "s12" in one.answered)


async def test_a_start_that_the_group_refuses_for_a_moment_is_not_logged(bench, monkeypatch):
    one = await bench(log={0: many(1)}, committed={})
    one.host.errors = [CommitFailedError("advice on settings")]
    with capture_logs() as logs:
        await one.lane.on_assigned({0})
        await until(lambda: one.host.commits)
    assert not [log for log in logs if "cannot be read" in log["event"]]
    monkeypatch.setattr(source, "PATIENCE_S", 0.0)
    lasting = await bench(log={0: many(1)}, committed={})
    lasting.host.errors = [CommitFailedError("advice on settings")]
    with capture_logs() as logs:
        await lasting.lane.on_assigned({0})
        await until(lambda: lasting.host.commits)
    (line,) = [log for log in logs if "cannot be read" in log["event"]]
    assert line["detail"] == "the group rebalances"
