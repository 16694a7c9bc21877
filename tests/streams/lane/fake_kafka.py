"""A Kafka in memory, as far as the lane sees one: topics, positions, batches; crashes where a test says so."""

import asyncio
import json
from collections import defaultdict, namedtuple
from typing import Any

from aiokafka import TopicPartition

Record = namedtuple("Record", "topic partition offset timestamp key value headers")
Ack = namedtuple("Ack", "offset")
NOW_MS = 1_700_000_100_000


class Crash(Exception):
    """The process dies here."""


class FakeKafka:
    """The log, and the only group's committed offsets; also `Clients` and `LaneHost` for a lane."""

    def __init__(self, session_timeout_ms: int = 10_000) -> None:
        self.logs: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.log_starts: dict[tuple[str, int], int] = defaultdict(int)
        self.offsets: dict[int, int] = {}
        self.crashes: list[BaseException] = []
        # Changelog batches that are still acknowledged before the process dies.
        self.acks_left: int | None = None
        self.settings = namedtuple("Settings", "session_timeout_ms")(session_timeout_ms)

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> int:
        log = self.logs[topic, partition]
        offset = log[-1].offset + 1 if log else self.log_starts[topic, partition]
        log.append(Record(topic, partition, offset, NOW_MS, key, value, tuple(headers)))
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

    def async_consumer(self, **options: Any) -> "FakeConsumer":
        return FakeConsumer(self)

    def async_producer(self, **options: Any) -> "FakeProducer":
        return FakeProducer(self)

    async def committed(self, topic: str, partitions: Any) -> dict[int, int | None]:
        return {partition: self.offsets.get(partition) for partition in partitions}

    async def crash(self, reason: BaseException) -> None:
        self.crashes.append(reason)


class FakeConsumer:
    def __init__(self, kafka: FakeKafka) -> None:
        self.kafka = kafka
        self.positions: dict[TopicPartition, int] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assign(self, tps: list[TopicPartition]) -> None:
        self.positions = {}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.kafka.log_starts[tuple(tp)] for tp in tps}

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.kafka.end(*tp) for tp in tps}

    def highwater(self, tp: TopicPartition) -> int:
        return self.kafka.end(*tp)

    async def getmany(self, timeout_ms: int = 0, max_records: int = 100) -> dict[TopicPartition, list[Record]]:
        await asyncio.sleep(0.0005)
        fetched = {}
        for tp, position in self.positions.items():
            records = [record for record in self.kafka.logs[tuple(tp)] if record.offset >= position][:max_records]
            if records:
                fetched[tp] = records
                self.positions[tp] = records[-1].offset + 1
        return fetched


class FakeBatch:
    def __init__(self, limit: int) -> None:
        self.records: list[tuple[bytes, bytes | None]] = []
        self.limit = limit

    def append(self, *, key: bytes, value: bytes | None, timestamp: None) -> Any:
        if len(self.records) == self.limit:
            return None
        self.records.append((key, value))
        return self.records

    def record_count(self) -> int:
        return len(self.records)

    def close(self) -> None: ...


class FakeProducer:
    def __init__(self, kafka: FakeKafka) -> None:
        self.kafka = kafka

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def create_batch(self) -> FakeBatch:
        return FakeBatch(limit=3)

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> Any:
        if self.kafka.acks_left is not None:
            if self.kafka.acks_left == 0:
                raise Crash
            self.kafka.acks_left -= 1
        first, *_ = [self.kafka.append(topic, partition, key, value) for key, value in batch.records]
        return _acked(first)

    async def send(self, topic: str, value: bytes, key: bytes, headers: Any) -> Any:
        return _acked(self.kafka.append(topic, 0, key, value, headers))


def _acked(offset: int) -> "asyncio.Future[Ack]":
    future = asyncio.get_running_loop().create_future()
    future.set_result(Ack(offset))
    return future
