import asyncio
import time
from collections import namedtuple

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from sidestream.models.records import SessionStart
from sidestream.streams.contracts.decode import decode_session_start
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.errors import LaneError
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.sessions.lane import SessionLane
from sidestream.streams.sessions.lane_wait import LaneWait
from sidestream.streams.sessions.settings import SessionSettings

TOPICS = build_topics(TopicSettings(user_partitions=2))
AT = 1_700_000_000_000
Record = namedtuple("Record", "topic partition offset timestamp key value headers")


def record(offset, partition=0, value=None):
    start = SessionStart(session_id=f"s{offset}", user_id="u", at=AT)
    value = start.to_json() if value is None else value
    return Record(TOPICS.session_starts.name, partition, offset, AT, b"u", value, ())


class FakeConsumer:
    """Returns the records that a test adds, never from paused partitions, never more than requested."""

    def __init__(self, log):
        self.log, self.sought, self.paused, self.largest, self.stopped = log, {}, set(), 0, False
        self.ends = {partition: records[-1].offset + 1 for partition, records in log.items() if records}

    async def start(self):
        pass

    async def stop(self):
        self.stopped = True

    def assign(self, partitions):
        self.partitions = list(partitions)

    def seek(self, partition, offset):
        self.sought[partition.partition] = offset

    async def seek_to_beginning(self, partition):
        self.sought[partition.partition] = 0

    async def position(self, partition):
        waiting = self.log.get(partition.partition)
        return waiting[0].offset if waiting else self.ends.get(partition.partition, 0)

    async def end_offsets(self, partitions):
        if isinstance(self.listen_ends, Exception):
            raise self.listen_ends
        assert {partition.topic for partition in partitions} == {"listens"}
        return {partition: self.listen_ends[partition.partition] for partition in partitions}

    def pause(self, *partitions):
        self.paused |= set(partitions)

    def resume(self, *partitions):
        self.paused -= set(partitions)

    async def getmany(self, timeout_ms, max_records):
        self.largest = max(self.largest, max_records)
        out = {}
        for partition in self.partitions:
            if partition not in self.paused and self.log.get(partition.partition):
                taken = self.log[partition.partition][:max_records]
                del self.log[partition.partition][: len(taken)]
                out[partition] = taken
                max_records -= len(taken)
                if max_records <= 0:
                    break
        await asyncio.sleep(0.001)
        return out


class FakeProducer:
    def __init__(self):
        self.sent, self.error, self.hold = [], None, None

    async def start(self):
        pass

    async def stop(self):
        pass

    async def send(self, *args, **kwargs):
        return asyncio.ensure_future(self._acknowledged(*args, **kwargs))

    async def _acknowledged(self, topic, value, key, partition, headers):
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        self.sent.append((topic, key, value, partition))


class FakeClients:
    def __init__(self, log):
        self.log, self.producer, self.consumers = log, FakeProducer(), []
        self.listen_ends = {}

    def async_consumer(self, **_):
        self.consumers.append(FakeConsumer(self.log))
        self.consumers[-1].listen_ends = self.listen_ends
        return self.consumers[-1]

    def async_producer(self, **_):
        return self.producer


class FakeAnswer:
    produced_at = AT

    def __init__(self, session_id):
        self.session_id = session_id

    def to_json(self):
        return self.session_id.encode()


class FakeAnswerer:
    def __init__(self):
        self.gates, self.active, self.most, self.error = {}, 0, 0, None
        self.shed, self.missing = [], {}

    def seconds(self):
        return time.perf_counter()

    def close(self):
        pass

    async def warm_up(self):
        pass

    async def answer(self, start, partition, fetched_s, *, shed=False, listens_missing=None):
        self.missing[start.session_id] = listens_missing
        if shed:
            self.shed.append(start.session_id)
            return FakeAnswer(start.session_id)
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            if start.session_id in self.gates:
                await self.gates[start.session_id].wait()
            if self.error is not None:
                raise self.error
        finally:
            self.active -= 1
        return FakeAnswer(start.session_id)


class FakeHost:
    def __init__(self, offsets):
        self.offsets = offsets

    async def committed(self, topic, partitions):
        assert topic == TOPICS.session_starts.name
        return {partition: self.offsets.get(partition) for partition in partitions}


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


class Bench:
    def __init__(self, log=None, committed=None, placement=None, **fields):
        self.log = {0: [], 1: []} if log is None else log
        self.clients, self.answerer = FakeClients(self.log), FakeAnswerer()
        self.ready = {0, 1}
        self.metrics = Metrics()
        self.pacer, self.folded = Pacer(), {}
        sessions = SessionSettings(**{"poll_ms": 1, "revoke_wait_ms": 50, "deadline_ms": 5_000, **fields})
        self.lane = SessionLane(
            self.clients,
            TOPICS.session_starts,
            TOPICS.candidates,
            decode_session_start,
            self.answerer,
            FakeHost(committed or {}),
            lambda partition: partition in self.ready,
            sessions,
            self.metrics,
            self.pacer,
            LaneWait("listens", self.folded.get, sessions.wait_for_lane_ms, self.pacer, self.metrics),
            placement,
        )

    @property
    def sent(self):
        return self.clients.producer.sent

    def gate(self, *session_ids):
        for session_id in session_ids:
            self.answerer.gates[session_id] = asyncio.Event()
        return self.answerer.gates


@pytest.fixture
async def bench():
    made = []

    async def make(**fields):
        made.append(Bench(**fields))
        await made[-1].lane.start()
        return made[-1]

    yield make
    for one in made:
        for gate in one.answerer.gates.values():
            gate.set()
        await one.lane.stop()


async def test_answers_keep_their_partition_and_offsets_follow_the_prefix(bench):
    one = await bench(log={0: [record(5), record(6), record(8)], 1: [record(0, 1)]}, committed={0: 5})
    gates = one.gate("s6")
    await one.lane.on_assigned({0, 1})
    await until(lambda: len(one.sent) == 3)
    assert one.clients.consumers[0].sought == {0: 5, 1: 0}
    assert {(topic, key, partition) for topic, key, _, partition in one.sent} == {
        (TOPICS.candidates.name, b"u", 0),
        (TOPICS.candidates.name, b"u", 1),
    }
    assert one.lane.committable() == {0: 6, 1: 1}
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
    one = await bench(
        log={0: [record(n) for n in range(2_000)]}, max_in_flight=2, max_waiting=100, deadline_ms=40, poll_ms=1
    )
    # The engine hangs: two session-starts hold its slots forever.
    one.gate("s0", "s1")
    most_waiting = 0

    def shed_all_others():
        nonlocal most_waiting
        most_waiting = max(most_waiting, one.pacer.sessions_waiting)
        return len(one.sent) == 1_998

    await one.lane.on_assigned({0})
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
    await until(lambda: not one.log[0])
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
    one.clients.producer.hold = asyncio.Event()
    await one.lane.on_assigned({0})
    await until(lambda: not one.log[0])
    assert one.lane.committable() == {}
    one.clients.producer.hold.set()
    await until(lambda: one.lane.committable() == {0: 1})
    assert one.sent == [(TOPICS.session_starts.name + ".dlq", b"u", b"{not json", 0)]
    assert one.metrics.dead_letters.labels(TOPICS.session_starts.name, "not_json")._value.get() == 1


async def test_listens_continue_once_an_answer_is_on_its_way_to_kafka(bench):
    one = await bench(log={0: [record(0)]})
    gates = one.gate("s0")
    one.clients.producer.hold = asyncio.Event()
    await one.lane.on_assigned({0})
    await until(lambda: one.pacer.sessions_waiting == 1)
    gates["s0"].set()
    await until(lambda: one.pacer.sessions_waiting == 0)
    assert not one.sent
    assert one.lane.committable() == {}
    one.clients.producer.hold.set()
    await until(lambda: one.lane.committable() == {0: 1})


async def test_a_rejected_dead_letter_stops_the_worker_before_its_offset(bench):
    one = await bench(log={0: [record(0, value=b"{not json"), record(1)]})
    one.clients.producer.error = MessageSizeTooLargeError("no")
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.crashed)
    assert isinstance(one.lane.crash_reason, LaneError)
    assert "session-starts.v1.dlq" in str(one.lane.crash_reason)
    assert one.lane.committable() == {}


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
    await until(lambda: one.clients.consumers[0].stopped)


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


async def test_a_rejected_answer_stops_the_worker(bench):
    one = await bench(log={0: [record(0)]})
    one.clients.producer.error = KafkaError("no")
    await one.lane.on_assigned({0})
    await until(lambda: one.lane.crashed)
    assert isinstance(one.lane.crash_reason, LaneError)
    assert "session-starts.v1/0/0" in str(one.lane.crash_reason)
    assert one.lane.committable() == {}


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


async def test_the_lane_exposes_its_topic(bench):
    one = await bench()
    await one.lane.on_assigned({1})
    await until(lambda: one.clients.consumers and hasattr(one.clients.consumers[0], "partitions"))
    assert one.clients.consumers[0].partitions == [TopicPartition(TOPICS.session_starts.name, 1)]
