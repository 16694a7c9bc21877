import asyncio

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from sidestream.streams.contracts.placement import Placement
from sidestream.streams.errors import LaneError
from tests.streams.sessions.session_fakes import STARTS, TOPICS, record, until


async def test_answers_keep_their_partition_and_offsets_follow_the_prefix(bench):
    one = await bench(log={0: [record(5), record(6), record(8)], 1: [record(0, 1)]}, committed={0: 5, 1: 0})
    gates = one.gate("s6")
    await one.lane.on_assigned({0, 1})
    await until(lambda: len(one.sent) == 3)
    assert one.clients.consumers[0].sought == {0: 5, 1: 0}
    assert {(topic, key, partition) for topic, key, _, partition in one.sent} == {
        (TOPICS.candidates.name, b"u", 0),
        (TOPICS.candidates.name, b"u", 1),
    }
    await until(lambda: one.lane.committable() == {0: 6, 1: 1})
    gates["s6"].set()
    await until(lambda: len(one.sent) == 4)
    await until(lambda: one.lane.committable() == {0: 9, 1: 1})


async def test_session_starts_of_another_partition_are_dead_letters_in_their_own(bench):
    home = TOPICS.session_starts.partition_of(b"u")
    log = {home: [record(0, home), record(1, home)], 1 - home: [record(0, 1 - home), record(1, 1 - home)]}
    one = await bench(log=log, placement=Placement(TOPICS.session_starts))
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.lane.committable() == {0: 2, 1: 2})
    assert sorted((topic, partition) for topic, _, _, partition in one.sent) == sorted(
        [(TOPICS.candidates.name, home)] * 2 + [(TOPICS.session_starts.dead_letters, 1 - home)] * 2
    )
    letters = one.metrics.dead_letters.labels(TOPICS.session_starts.name, "wrong_partition")
    assert letters._value.get() == 2


async def test_in_flight_sessions_are_limited(bench):
    one = await bench(log={0: [record(n) for n in range(40)]}, max_in_flight=4)
    gates = one.gate("s0")
    await one.lane.on_assigned({0})
    await until(lambda: len(one.sent) == 39)
    assert one.answerer.most <= 4
    assert one.lane.committable() == {}
    gates["s0"].set()
    await until(lambda: one.lane.committable() == {0: 40})


async def test_a_burst_is_answered_once_each_and_late_sessions_are_shed(bench):
    one = await bench(max_in_flight=2, max_waiting=100, deadline_ms=40, poll_ms=1)
    # The engine hangs: two session-starts hold its slots forever.
    one.gate("s0", "s1")
    most_waiting = 0

    def shed_all_others():
        nonlocal most_waiting
        most_waiting = max(most_waiting, one.pacer.sessions_waiting)
        return len(one.sent) == 1_998

    await one.lane.on_assigned({0})
    await until(lambda: 0 in one.lane._source.positions)
    one.log.records[0] += [record(n) for n in range(2_000)]
    await until(shed_all_others)
    assert sorted(one.answerer.shed) == sorted(f"s{n}" for n in range(2, 2_000))
    assert one.answerer.most == 2
    assert 2 < most_waiting <= 100
    assert one.lane.committable() == {}
    for gate in one.answerer.gates.values():
        gate.set()
    await until(lambda: one.lane.committable() == {0: 2_000})
    answered = [value for _, _, value, _ in one.sent]
    assert len(answered) == len(set(answered)) == 2_000
    assert one.pacer.sessions_waiting == 0


async def test_nothing_is_shed_while_the_engine_keeps_up(bench):
    one = await bench(log={0: [record(n) for n in range(500)]}, max_in_flight=2, max_waiting=50)
    await one.lane.on_assigned({0})
    await until(lambda: len(one.sent) == 500)
    assert one.answerer.shed == []


async def test_listens_from_before_a_session_start_are_waited_for(bench):
    one = await bench(log={0: [record(0)]}, wait_for_lane_ms=4_000)
    one.clients.listen_ends, one.folded[0] = {0: 7}, 5
    await one.lane.on_assigned({0})
    await until(lambda: one.log.num_taken)
    # It waits, and listens are not paused for it.
    await until(lambda: one.pacer.sessions_waiting == 0)
    assert not one.sent
    one.folded[0] = 7
    one.pacer.listens_folded()
    await until(lambda: one.sent)
    assert one.answerer.missing == {"s0": None}
    assert waits(one, "folded") == 1


async def test_the_wait_for_listens_is_bounded_and_the_answer_reports_the_missing(bench):
    one = await bench(log={0: [record(0)]}, wait_for_lane_ms=20)
    one.clients.listen_ends, one.folded[0] = {0: 7}, 5
    await one.lane.on_assigned({0})
    await until(lambda: one.sent)
    assert one.answerer.missing == {"s0": 2}
    assert waits(one, "late") == 1


async def test_sessions_do_not_wait_if_the_ends_of_the_listens_are_unknown(bench):
    one = await bench(log={0: [record(0)]}, wait_for_lane_ms=20)
    one.clients.listen_ends = KafkaError("no")
    await one.lane.on_assigned({0})
    await until(lambda: one.sent)
    assert waits(one, "unknown") == 1


def waits(bench, outcome):
    return bench.metrics.lane_waits.labels(outcome)._value.get()


async def test_a_bad_record_is_a_dead_letter_before_its_offset_counts(bench):
    one = await bench(log={0: [record(0, value=b"{not json")]})
    one.clients.hold = asyncio.Event()
    await one.lane.on_assigned({0})
    await until(lambda: one.log.num_taken)
    assert one.lane.committable() == {}
    one.clients.hold.set()
    await until(lambda: one.lane.committable() == {0: 1})
    assert one.sent == [(STARTS + ".dlq", b"u", b"{not json", 0)]
    assert one.metrics.dead_letters.labels(STARTS, "not_json")._value.get() == 1


async def test_listens_continue_once_an_answer_is_on_its_way_to_kafka(bench):
    one = await bench(log={0: [record(0)]})
    gates = one.gate("s0")
    one.clients.hold = asyncio.Event()
    await one.lane.on_assigned({0})
    await until(lambda: one.pacer.sessions_waiting == 1)
    gates["s0"].set()
    await until(lambda: one.pacer.sessions_waiting == 0)
    assert not one.sent
    assert one.lane.committable() == {}
    one.clients.hold.set()
    await until(lambda: one.lane.committable() == {0: 1})


async def test_sessions_wait_until_the_states_of_their_partition_are_restored(bench):
    one = await bench(log={0: [record(0)], 1: [record(0, 1)]})
    one.ready = {1}
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.sent)
    assert [partition for *_, partition in one.sent] == [1]
    one.ready.add(0)
    await until(lambda: len(one.sent) == 2)


async def test_revocation_waits_for_answers_in_flight_and_keeps_their_offsets(bench):
    one = await bench(log={0: [record(0), record(1)]}, revoke_wait_ms=3_000)
    gates = one.gate("s1")
    await one.lane.on_assigned({0})
    await until(lambda: len(one.sent) == 1 and one.answerer.active)
    revoking = asyncio.create_task(one.lane.on_revoked({0}))
    await asyncio.sleep(0.01)
    assert not revoking.done()
    gates["s1"].set()
    await revoking
    assert one.lane.committable() == {0: 2}
    await until(lambda: one.clients.consumers[0].is_stopped)


async def test_revocation_cancels_late_answers_which_stay_uncommitted(bench):
    one = await bench(log={0: [record(0), record(1)]}, revoke_wait_ms=30)
    one.gate("s1")
    await one.lane.on_assigned({0})
    await until(lambda: len(one.sent) == 1)
    await one.lane.on_revoked({0})
    assert one.lane.committable() == {0: 1}
    await until(lambda: one.answerer.active == 0)
    # The next assignment starts from the group's committed offsets.
    await one.lane.on_assigned({0})
    assert one.lane.committable() == {}
    await until(lambda: len(one.clients.consumers) == 2)


async def test_a_table_closed_by_a_revocation_does_not_stop_the_worker(bench):
    one = await bench(log={0: [record(0)]})
    gates = one.gate("s0")
    one.answerer.error = LaneError("not open")
    await one.lane.on_assigned({0})
    await until(lambda: one.answerer.active)
    revoking = asyncio.create_task(one.lane.on_revoked({0}))
    await asyncio.sleep(0)
    gates["s0"].set()
    await revoking
    assert not one.lane.crashed
    assert one.lane.committable() == {}


async def test_states_that_are_restored_again_hold_their_sessions(bench):
    one = await bench(log={0: [record(0), record(1)], 1: [record(0, 1)]}, max_waiting=1, revoke_wait_ms=3_000)
    gates = one.gate("s0")
    one.answerer.error = LaneError("not open")
    await one.lane.on_assigned({0, 1})
    await until(lambda: one.answerer.active)
    one.ready.discard(0)
    gates.pop("s0").set()
    await until(lambda: not one.answerer.active)
    one.answerer.error = None
    # The other partition is answered meanwhile, and what waits is no reason to end the worker.
    await until(lambda: [partition for *_, partition in one.sent] == [1])
    await until(lambda: one.lane.work({0: 2, 1: 1}).waiting == 0)
    one.ready.add(0)
    await until(lambda: one.lane.committable() == {0: 2, 1: 1})
    assert not one.lane.crashed


async def test_states_that_cannot_be_read_though_restored_stop_the_worker(bench):
    one = await bench(log={0: [record(0)]})
    one.answerer.error = LaneError("damaged")
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.crashed)
    assert one.lane.committable() == {}


async def test_the_lane_exposes_its_topic(bench):
    one = await bench()
    await one.lane.on_assigned({1})
    await until(lambda: one.clients.consumers and hasattr(one.clients.consumers[0], "partitions"))
    assert one.clients.consumers[0].partitions == [TopicPartition(STARTS, partition) for partition in (0, 1)]
    assert TopicPartition(STARTS, 0) in one.clients.consumers[0].paused
