"""In-memory Kafka as seen by the lane: topics, positions, batches, transactions; crashes at the steps of a test.

Transactions are kept as a broker keeps them: records land in the log at once and are hidden from `read_committed`
until the commit; starting a producer ends its predecessor's transaction and refuses it from then on; each end of a
transaction leaves a control record, which is never delivered, in every partition that it touched.
"""

import asyncio
import json
from collections import defaultdict, namedtuple
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from sidestream.streams.contracts.topics import TopicState
from sidestream.streams.kafka.outages import Outages

Record = namedtuple("Record", "topic partition offset timestamp key value headers")
Ack = namedtuple("Ack", "offset")
OffsetAtTime = namedtuple("OffsetAtTime", "offset timestamp")
NOW_MS = 1_700_000_100_000


class Crash(Exception):
    """The process crashes here."""


class FakeKafka:
    """The log, and the committed offsets of the only group; also `Clients` and `LaneHost` for a lane."""

    is_embedded = False
    bootstrap = "memory:0"
    group_id = "group"

    def __init__(self, session_timeout_ms: int = 10_000) -> None:
        self.logs: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.log_starts: dict[tuple[str, int], int] = defaultdict(int)
        self.outages = Outages()
        self.offsets: dict[int, int] = {}
        self.erasure_offsets: dict[int, int] = {}
        self.crashes: list[BaseException] = []
        self.standby_partitions: frozenset[int] = frozenset()
        # What the group answers to a worker whose producer was fenced.
        self.is_member = False
        # Partitions without a leader: nobody answers for them.
        self.leaderless: set[tuple[str, int]] = set()
        # Producer steps that are still done before the process crashes.
        self.acks_left: int | None = None
        # Responses of the next transactions to their offsets.
        self.refusals: list[Exception] = []
        self.steps: list[str] = []
        self.settings = namedtuple("Settings", "session_timeout_ms")(session_timeout_ms)
        self.epochs: dict[str, int] = defaultdict(int)
        self.open: dict[str, list[Record]] = {}
        self.hidden: set[tuple[str, int, int]] = set()
        self.topics = {
            name: TopicState(2, None, str(UUID(int=number)))
            for number, name in enumerate(("listens", "changelog", "erasures", "counts"), start=1)
        }

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Any = (),
        timestamp: int = NOW_MS,
    ) -> int:
        log = self.logs[topic, partition]
        offset = self.end(topic, partition)
        log.append(Record(topic, partition, offset, timestamp, key, value, tuple(headers)))
        return offset

    def listen(self, partition: int, user: str, number: int) -> None:
        listen = {
            "event_id": f"e{number}",
            "user_id": user,
            "item_id": f"i{number % 7}",
            "at": NOW_MS - 10_000 + number,
        }
        self.append("listens", partition, user.encode(), json.dumps(listen).encode())

    def end(self, topic: str, partition: int) -> int:
        log = self.logs[topic, partition]
        return log[-1].offset + 1 if log else self.log_starts[topic, partition]

    def stable_end(self, topic: str, partition: int) -> int:
        """The last stable offset: the first of an open transaction, or the end."""
        waiting = [r.offset for records in self.open.values() for r in records if r[:2] == (topic, partition)]
        return min([*waiting, self.end(topic, partition)])

    def visible(self, topic: str, partition: int) -> list[Record]:
        """Records visible to a reader with `read_committed`."""
        end = self.stable_end(topic, partition)
        return [r for r in self.logs[topic, partition] if r.offset < end and r[:3] not in self.hidden]

    def end_transaction(self, transactional_id: str, commit: bool) -> None:
        records = self.open.pop(transactional_id, [])
        if not commit:
            self.hidden |= {record[:3] for record in records}
        for topic, partition in {record[:2] for record in records}:
            self.hidden.add((topic, partition, self.append(topic, partition, None, None)))

    def step(self, name: str) -> None:
        """Record a step of a process, or crash it here."""
        if self.acks_left is not None:
            if self.acks_left == 0:
                raise Crash
            self.acks_left -= 1
        self.steps.append(name)

    def async_consumer(self, *, read_committed: bool = True, **options: Any) -> "FakeConsumer":
        return FakeConsumer(self, read_committed)

    def async_producer(self, *, transactional_id: str | None = None, **options: Any) -> "FakeProducer":
        return FakeProducer(self, transactional_id)

    def admin(self) -> "FakeAdmin":
        return FakeAdmin(self)

    async def committed(self, topic: str, partitions: Any) -> dict[int, int | None]:
        self.steps.append("committed")
        offsets = self.erasure_offsets if topic == "erasures" else self.offsets
        return {partition: offsets.get(partition) for partition in partitions}

    async def commit(self, topic: str, offsets: dict[int, int]) -> None:
        self.steps.append("commit of the group")
        (self.erasure_offsets if topic == "erasures" else self.offsets).update(offsets)

    def standbys(self, topic: str) -> frozenset[int]:
        return self.standby_partitions

    async def confirm_member(self) -> bool:
        return self.is_member

    async def crash(self, reason: BaseException) -> None:
        self.crashes.append(reason)


class FakeAdmin:
    """The part of kafka-python's admin client that describes topics."""

    def __init__(self, kafka: FakeKafka) -> None:
        self.kafka = kafka

    def describe_topics(self) -> list[dict[str, Any]]:
        topics = self.kafka.topics.items()
        return [{"name": n, "partitions": [None] * t.partitions, "topic_id": t.topic_id} for n, t in topics]

    def describe_configs(self, resources: Any, config_filter: str) -> dict[str, Any]:
        return {"topic": {}}

    def close(self) -> None: ...


class FakeConsumer:
    def __init__(self, kafka: FakeKafka, read_committed: bool) -> None:
        self.kafka = kafka
        self._fetcher = SimpleNamespace()
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.end = kafka.stable_end if read_committed else kafka.end

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def topics(self) -> set[str]:
        return set(self.kafka.topics)

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self.kafka.topics[topic].partitions))

    def assign(self, tps: list[TopicPartition]) -> None:
        self.positions, self.paused = {}, set()

    def pause(self, *tps: TopicPartition) -> None:
        self.paused |= set(tps)

    def resume(self, *tps: TopicPartition) -> None:
        self.paused -= set(tps)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        await self._leaders(tps)
        return {tp: self.kafka.log_starts[tuple(tp)] for tp in tps}

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        await self._leaders(tps)
        self.kafka.steps.append("end of " + tps[0].topic)
        return {tp: self.end(*tp) for tp in tps}

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, OffsetAtTime | None]:
        found = {}
        for tp, at in times.items():
            later = [r for r in self.kafka.visible(*tp) if r.timestamp >= at and r.key is not None]
            found[tp] = OffsetAtTime(later[0].offset, later[0].timestamp) if later else None
        return found

    def highwater(self, tp: TopicPartition) -> int:
        return self.kafka.end(*tp)

    def last_stable_offset(self, tp: TopicPartition) -> int:
        return self.kafka.stable_end(*tp)

    async def _leaders(self, tps: list[TopicPartition]) -> None:
        while any(tuple(tp) in self.kafka.leaderless for tp in tps):
            await asyncio.sleep(0.001)

    async def getmany(
        self, *only: TopicPartition, timeout_ms: int = 0, max_records: int | None = 100
    ) -> dict[TopicPartition, list[Record]]:
        await asyncio.sleep(0.0005)
        max_records = max_records or 100
        fetched = {}
        for tp in only or tuple(self.positions):
            if tp in self.paused or tuple(tp) in self.kafka.leaderless:
                continue
            position = self.positions[tp]
            records = [record for record in self.kafka.visible(*tp) if record.offset >= position]
            if records[:max_records]:
                fetched[tp] = records[:max_records]
            # Control records are skipped, but only by a fetch that reaches them.
            more = len(records) > max_records
            self.positions[tp] = fetched[tp][-1].offset + 1 if more else max(position, self.end(*tp))
        return fetched


class FakeBatch:
    def __init__(self, limit: int) -> None:
        self.records: list[tuple[bytes | None, bytes | None, Any]] = []
        self.limit = limit

    def append(self, *, key: bytes | None, value: bytes | None, timestamp: None, headers: Any) -> Any:
        assert isinstance(headers, list)  # aiokafka accepts nothing else
        if len(self.records) == self.limit:
            return None
        self.records.append((key, value, headers))
        return self.records

    def record_count(self) -> int:
        return len(self.records)

    def close(self) -> None: ...


class FakeProducer:
    # What waits for acknowledgements looks at.
    _sender = SimpleNamespace(sender_task=None)
    client = SimpleNamespace(_sync_task=None)
    _closed = True

    def __init__(self, kafka: FakeKafka, transactional_id: str | None) -> None:
        self.kafka = kafka
        self.id = transactional_id
        self.epoch = -1
        self.outages = Outages()
        self.offsets: dict[int, int] = {}
        self.erasure_offsets: dict[int, int] = {}

    async def start(self) -> None:
        if self.id is not None:
            self.kafka.steps.append("fence " + self.id)
            self.kafka.end_transaction(self.id, commit=False)
            self.epoch = self.kafka.epochs[self.id] = self.kafka.epochs[self.id] + 1

    async def stop(self) -> None: ...

    def create_batch(self) -> FakeBatch:
        return FakeBatch(limit=3)

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> Any:
        self.kafka.step("send to " + topic)
        self._check()
        offsets = [self.kafka.append(topic, partition, *record) for record in batch.records]
        if self.id is not None:
            self.kafka.open[self.id] += self.kafka.logs[topic, partition][-len(offsets) :]
        future = asyncio.get_running_loop().create_future()
        future.set_result(Ack(offsets[0]))
        return future

    async def begin_transaction(self) -> None:
        self.offsets, self.erasure_offsets = {}, {}
        if self.kafka.epochs[self.id] == self.epoch:
            self.kafka.open[self.id] = []

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, int], group_id: str) -> None:
        assert group_id == self.kafka.group_id
        self.kafka.step("send offsets")
        self._check()
        if self.kafka.refusals:
            raise self.kafka.refusals.pop(0)
        self.offsets = {tp.partition: offset for tp, offset in offsets.items() if tp.topic != "erasures"}
        self.erasure_offsets = {tp.partition: offset for tp, offset in offsets.items() if tp.topic == "erasures"}

    async def commit_transaction(self) -> None:
        self.kafka.step("commit")
        self._check()
        self.kafka.end_transaction(self.id, commit=True)
        self.kafka.offsets.update(self.offsets)
        self.kafka.erasure_offsets.update(self.erasure_offsets)
        self.kafka.step("commit acknowledged")

    async def abort_transaction(self) -> None:
        self.kafka.steps.append("abort")
        self._check()
        self.kafka.end_transaction(self.id, commit=False)

    def _check(self) -> None:
        if self.id is not None and self.kafka.epochs[self.id] != self.epoch:
            raise ProducerFenced
