"""A session lane on an in-memory Kafka: session-starts, group offsets, and clients that fail as a test says."""

import asyncio
import time
from collections import namedtuple
from types import SimpleNamespace

from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError

from sidestream.models.records import SessionStart
from sidestream.streams.contracts.decode import decode_session_start
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.outages import Outages
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.sessions.lane import SessionLane
from sidestream.streams.sessions.lane_wait import LaneWait
from sidestream.streams.sessions.settings import SessionSettings

TOPICS = build_topics(TopicSettings(user_partitions=2))
STARTS = TOPICS.session_starts.name
AT = 1_700_000_000_000
Record = namedtuple("Record", "topic partition offset timestamp key value headers")


def record(offset, partition=0, value=None, at=AT):
    start = SessionStart(session_id=f"s{offset}", user_id="u", at=AT)
    value = start.to_json() if value is None else value
    return Record(STARTS, partition, offset, at, b"u", value, ())


class FakeLog:
    """Records by partition, their bounds, and partitions without a leader."""

    def __init__(self, records):
        self.records = {partition: list(some) for partition, some in records.items()}
        self.begins, self.ends, self.leaderless = {}, {}, set()
        self.num_taken = 0

    def bounds(self, partition):
        records = self.records.get(partition, [])
        begin = self.begins.get(partition, records[0].offset if records else 0)
        return begin, max(self.ends.get(partition, begin), records[-1].offset + 1 if records else 0)


class FakeConsumer:
    """Returns records from its positions on, never of paused partitions, never more than requested."""

    def __init__(self, clients):
        self.clients, self.log = clients, clients.log
        self.positions, self.sought, self.paused, self.largest, self.is_stopped = {}, {}, set(), 0, False

    async def start(self):
        if self.clients.unreachable:
            self.clients.unreachable -= 1
            raise KafkaConnectionError("nobody there")

    async def stop(self):
        self.is_stopped = True

    def assign(self, partitions):
        self.partitions = list(partitions)

    def seek(self, place, offset):
        self.positions[place.partition] = self.sought[place.partition] = offset

    async def position(self, place):
        return self.positions[place.partition]

    async def _require_leader(self, places):
        for place in places:
            if place.partition in self.log.leaderless:
                await asyncio.Event().wait()

    async def beginning_offsets(self, places):
        await self._require_leader(places)
        return {place: self.log.bounds(place.partition)[0] for place in places}

    async def end_offsets(self, places):
        if {place.topic for place in places} == {"listens"}:
            if isinstance(self.clients.listen_ends, Exception):
                raise self.clients.listen_ends
            return {place: self.clients.listen_ends[place.partition] for place in places}
        await self._require_leader(places)
        return {place: self.log.bounds(place.partition)[1] for place in places}

    async def offsets_for_times(self, times):
        found = {}
        for place, since_ms in times.items():
            records = self.log.records.get(place.partition, [])
            found[place] = next((one for one in records if one.timestamp >= since_ms), None)
        return found

    def pause(self, *places):
        self.paused |= set(places)

    def resume(self, *places):
        self.paused -= set(places)

    async def getmany(self, *places, timeout_ms, max_records):
        self.largest = max(self.largest, max_records)
        await asyncio.sleep(0.001)
        if self.clients.fetch_errors:
            raise self.clients.fetch_errors.pop(0)
        found = {}
        for place in places or self.partitions:
            if place in self.paused or place.partition in self.log.leaderless:
                continue
            begin, end = self.log.bounds(place.partition)
            position = self.positions[place.partition]
            if not begin <= position <= end:
                if found:  # as aiokafka: what was taken is returned, and the error is raised by the next call
                    break
                raise OffsetOutOfRangeError({place: position})
            records = [one for one in self.log.records.get(place.partition, []) if one.offset >= position]
            if taken := records[:max_records]:
                found[place] = taken
                self.log.num_taken += len(taken)
                self.positions[place.partition] = taken[-1].offset + 1
                max_records -= len(taken)
                if max_records <= 0:
                    break
        return found


class FakeProducer:
    def __init__(self, clients):
        self.clients, self.is_closed, self._closed = clients, False, False
        self._sender = SimpleNamespace(sender_task=None)
        self._message_accumulator = SimpleNamespace(close=self._flush)
        self.client = SimpleNamespace(_sync_task=None, close=self._close, fetch_all_metadata=self._metadata)

    async def start(self):
        if self.clients.unreachable:
            self.clients.unreachable -= 1
            raise KafkaConnectionError("nobody there")
        self._sender.sender_task = asyncio.create_task(self._send_for_ever())

    async def send(self, *args, **kwargs):
        return asyncio.ensure_future(self._acknowledged(*args, **kwargs))

    async def _acknowledged(self, topic, value, key, partition, headers):
        clients = self.clients
        if clients.hold is not None:
            await clients.hold.wait()
        if partition in clients.leaderless or self.clients.kills_sender:
            if self.clients.kills_sender:
                self.clients.kills_sender -= 1
                self._sender.sender_task.cancel()
            await asyncio.Event().wait()
        if clients.send_errors:
            raise clients.send_errors.pop(0)
        clients.sent.append((topic, key, value, partition))

    async def _send_for_ever(self):
        await asyncio.Event().wait()

    async def _flush(self):
        pass

    async def _close(self):
        self.is_closed = True

    async def _metadata(self):
        return SimpleNamespace(topics=lambda: self.clients.topics)


class FakeClients:
    bootstrap, is_embedded, fetch_max_wait_ms = "memory:0", False, 500

    def __init__(self, log):
        self.log, self.consumers, self.producers, self.outages = log, [], [], Outages()
        self.listen_ends = {}
        self.topics = {TOPICS.candidates.name, STARTS + ".dlq"}
        # Acknowledged records; what the next acknowledgements wait for or fail with; producers whose sender will die.
        self.sent, self.hold, self.send_errors, self.kills_sender = [], None, [], 0
        # Partitions of the candidates that nobody leads; clients that will not connect; errors of the next fetches.
        self.leaderless, self.unreachable, self.fetch_errors = set(), 0, []

    def async_consumer(self, **_):
        self.consumers.append(FakeConsumer(self))
        return self.consumers[-1]

    def async_producer(self, **_):
        self.producers.append(FakeProducer(self))
        return self.producers[-1]


class FakeAnswer:
    produced_at = AT

    def __init__(self, session_id):
        self.session_id = session_id

    def to_json(self):
        return self.session_id.encode()


class FakeAnswerer:
    def __init__(self):
        self.gates, self.active, self.most, self.error = {}, 0, 0, None
        self.shed, self.missing, self.unreadable = [], {}, False

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
    """The group: its offsets, and what was done to them in order."""

    def __init__(self, offsets):
        self.offsets, self.commits, self.errors = offsets, [], []

    async def committed(self, topic, partitions):
        assert topic == STARTS
        return {partition: self.offsets.get(partition) for partition in partitions}

    async def commit(self, topic, offsets):
        assert topic == STARTS
        if self.errors:
            raise self.errors.pop(0)
        self.offsets.update(offsets)
        self.commits.append(dict(offsets))


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


class Bench:
    """A session lane whose group has committed the beginning of each partition, unless a test says otherwise."""

    def __init__(self, log=None, committed=None, placement=None, now_ms=AT, **fields):
        self.log = FakeLog({0: [], 1: []} if log is None else log)
        self.clients, self.answerer = FakeClients(self.log), FakeAnswerer()
        self.host = FakeHost({0: 0, 1: 0} if committed is None else committed)
        for partition, offset in self.host.offsets.items():
            self.log.begins.setdefault(partition, min(offset, self.log.bounds(partition)[0]))
        self.ready, self.now_ms = {0, 1}, now_ms
        self.metrics = Metrics()
        self.pacer, self.folded = Pacer(), {}
        sessions = SessionSettings(**{"poll_ms": 1, "revoke_wait_ms": 50, "deadline_ms": 5_000, **fields})
        self.lane = SessionLane(
            self.clients,
            TOPICS.session_starts,
            TOPICS.candidates,
            decode_session_start,
            self.answerer,
            self.host,
            lambda partition: partition in self.ready,
            sessions,
            self.metrics,
            self.pacer,
            LaneWait("listens", self.folded.get, sessions.wait_for_lane_ms, self.pacer, self.metrics),
            lambda: self.now_ms,
            placement,
        )

    @property
    def sent(self):
        return self.clients.sent

    @property
    def answered(self):
        return [value.decode() for _, _, value, _ in self.clients.sent]

    def gate(self, *session_ids):
        for session_id in session_ids:
            self.answerer.gates[session_id] = asyncio.Event()
        return self.answerer.gates

    def skipped(self, reason):
        return self.metrics.sessions_skipped.labels(reason)._value.get()
