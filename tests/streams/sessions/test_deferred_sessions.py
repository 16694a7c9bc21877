"""Session-starts that waited for a worker: current ones come first, and none is lost."""

import pytest
from aiokafka.errors import KafkaConnectionError

from tests.streams.sessions.session_fakes import AT, record, until

WAITING = 300


def many(count, first=0, partition=0, at=AT):
    return [record(first + number, partition, at=at) for number in range(count)]


def names(first, end):
    return {f"s{number}" for number in range(first, end)}


async def waits_behind(bench, **fields):
    """A lane with many waiting session-starts, whose first two the engine does not finish."""
    one = await bench(log={0: many(WAITING), 1: []}, max_in_flight=3, **fields)
    one.gate("s0", "s1")
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.answerer.active == 2)
    return one


def finish(one):
    for gate in one.answerer.gates.values():
        gate.set()


async def test_current_ones_are_answered_before_those_that_waited(bench):
    one = await bench(log={0: many(WAITING)}, max_in_flight=2)
    one.gate("s0", "s1")
    await one.lane.on_assigned({0})
    await until(lambda: one.answerer.active == 2)
    assert one.lane.unread({0: WAITING}) == {0: WAITING - 2}
    one.log.records[0] += many(3, first=WAITING)
    await until(lambda: one.lane.unread({0: WAITING + 3}) == {0: WAITING - 2})
    finish(one)
    await until(lambda: one.lane.committable() == {0: WAITING + 3})
    assert set(one.answered[:5]) == {"s0", "s1", *names(WAITING, WAITING + 3)}
    assert sorted(one.answered) == sorted(names(0, WAITING + 3))
    assert one.answerer.shed == []
    assert one.lane.unread({0: WAITING + 3}) == {0: 0}


async def test_the_commit_stays_before_what_waits(bench):
    one = await waits_behind(bench)
    one.log.records[0] += many(3, first=WAITING)
    await until(lambda: names(WAITING, WAITING + 3) <= set(one.answered))
    assert one.lane.committable() == {}
    one.answerer.gates["s0"].set()
    await until(lambda: one.lane.committable() == {0: 1})
    heir = await bench(log=one.log.records, committed={0: 1, 1: 0})
    await heir.lane.on_assigned({0, 1})
    await until(lambda: set(heir.answered) == names(1, WAITING + 3))
    finish(one)


async def test_few_that_wait_are_answered_in_order(bench):
    one = await bench(log={0: many(16)}, max_in_flight=1)
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.committable() == {0: 16})
    assert one.answered == [f"s{number}" for number in range(16)]
    assert len(one.clients.consumers) == 1


async def test_what_becomes_too_old_while_it_waits_is_skipped(bench):
    one = await waits_behind(bench)
    one.now_ms = AT + 60_001
    finish(one)
    await until(lambda: one.lane.committable() == {0: WAITING})
    assert one.skipped("stale") + len(one.answered) == WAITING
    assert one.skipped("stale") > WAITING - 10


async def test_what_is_deleted_while_it_waits_is_counted(bench):
    one = await waits_behind(bench)
    one.log.begins[0], one.log.records[0] = 200, many(WAITING - 200, first=200)
    finish(one)
    await until(lambda: one.lane.committable() == {0: WAITING})
    assert one.skipped("deleted") + len(set(one.answered)) == WAITING
    assert names(200, WAITING) <= set(one.answered)


async def test_the_end_of_a_range_without_records_is_passed(bench):
    one = await bench(log={0: many(100)})
    one.log.ends[0] = 104  # transaction markers
    await one.lane.on_assigned({0})
    await until(lambda: len(one.answered) == 100)
    for consumer in one.clients.consumers:
        consumer.positions[0] = 104
    await until(lambda: one.lane.committable() == {0: 104})


@pytest.mark.parametrize("number", [1, 5])
async def test_nothing_is_lost_when_the_broker_fails(bench, number):
    one = await bench(log={0: many(WAITING), 1: many(WAITING, partition=1)}, max_in_flight=3)
    await one.lane.on_assigned({0, 1})
    await until(lambda: len(one.answered) > number)
    one.clients.fetch_errors = [KafkaConnectionError("gone")] * number
    one.clients.unreachable = 1
    await until(lambda: one.lane.committable() == {0: WAITING, 1: WAITING})
    assert len(one.answered) == 2 * WAITING


async def test_a_partition_that_is_blocked_delays_no_other(bench):
    one = await bench(log={0: many(WAITING), 1: many(WAITING, partition=1)})
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.answered)
    one.ready = {1}
    await until(lambda: one.lane.committable().get(1) == WAITING)
    one.ready = {0, 1}
    await until(lambda: one.lane.committable() == {0: WAITING, 1: WAITING})


async def test_deferred_of_a_partition_that_came_back_are_read_from_its_committed_offset(bench):
    one = await bench(log={0: many(40), 1: []}, max_in_flight=1, revoke_wait_ms=1)
    one.gate("s5")
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.answered == [f"s{n}" for n in range(5)])
    await until(lambda: one.answerer.active)
    one.host.offsets[0] = 3
    await one.lane.on_assigned({1})
    await one.lane.on_assigned({0, 1})
    await until(lambda: not one.answerer.active)  # given up: the next owner answers
    one.answerer.gates.clear()
    await until(lambda: one.lane.committable().get(0) == 40)
    assert set(one.answered) == names(0, 40)
