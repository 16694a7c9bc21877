"""Kafka clients and parts of a worker that come to the points of a fault."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sidestream.streams.group.host import FaustHost
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.batch import ListenBatch
from sidestream.streams.listens.lane import ListenLane
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.worker import build
from tests.bench.matrix.faults import Fault
from tests.bench.matrix.judging.tables import is_reserved

CHANGELOG = "user-state-changelog.v1"
ERASURES = "user-erasures.v1"
COUNTS = "item-count-changes.v1"
TOTALS = "item-count-totals.v1"
CANDIDATES = "candidates.v1"


class FaultyProducer:
    """A producer that comes to the points of a fault; those of a batch only if it is one of the listens."""

    def __init__(self, producer: Any, fault: Fault, transactional_id: str | None) -> None:
        self._producer, self._fault = producer, fault
        self._is_transactional = transactional_id is not None and COUNTS not in transactional_id
        # What the open transaction holds beside listens.
        self._kinds: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    async def start(self) -> None:
        if self._is_transactional:
            self._fault.reach("fence")
        await self._producer.start()
        if self._is_transactional:
            self._fault.reach("fenced")

    async def begin_transaction(self) -> None:
        self._reach("begin")
        self._kinds.clear()
        await self._producer.begin_transaction()

    async def send_batch(self, builder: Any, topic: str, *, partition: int) -> Any:
        if topic.endswith(CHANGELOG):
            self._fault.reach("send")
        if topic.endswith(COUNTS):
            self._kinds.add("count")
            self._fault.reach("counts")
        if topic.endswith(TOTALS):
            self._kinds.add("total")
            self._fault.reach("totals")
        future = await self._producer.send_batch(builder, topic, partition=partition)
        if topic.endswith(".dlq") and self._fault.point == "dead_letters":
            await self._producer.flush()
            self._fault.reach("dead_letters")
        return future

    async def send(self, topic: str, *args: Any, **options: Any) -> Any:
        if not topic.endswith(CANDIDATES):
            return await self._producer.send(topic, *args, **options)
        self._fault.reach("answer")
        future = await self._producer.send(topic, *args, **options)
        if self._fault.point == "answered":
            await asyncio.shield(future)
            self._fault.reach("answered")
        return future

    async def send_offsets_to_transaction(self, offsets: Any, group_id: str) -> None:
        if self._fault.point == "sent":
            await self._producer.flush()
            self._reach("sent")
        await self._producer.send_offsets_to_transaction(offsets, group_id)
        if any(tp.topic.endswith(ERASURES) for tp in offsets):
            self._kinds.add("erase")
        self._reach("offsets")

    async def commit_transaction(self) -> None:
        self._reach("commit")
        for kind in self._kinds:
            self._fault.reach(f"{kind}_commit")
        await self._producer.commit_transaction()
        self._reach("committed")
        for kind in self._kinds:
            self._fault.reach(f"{kind}_committed")

    def _reach(self, point: str) -> None:
        if self._is_transactional:
            self._fault.reach(point)


class FaultyConsumer:
    """A consumer that comes to the points of a restore, where it reads a changelog."""

    def __init__(self, consumer: Any, fault: Fault, skip: int) -> None:
        self._consumer, self._fault = consumer, fault
        self._skips: defaultdict[Any, int] = defaultdict(lambda: skip)
        self._restores = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def seek(self, partition: Any, offset: int) -> None:
        self._restores = self._restores or partition.topic.endswith(CHANGELOG)
        self._consumer.seek(partition, offset)

    async def getmany(self, *args: Any, **options: Any) -> Any:
        if self._restores and self._fault.restore_s:
            await asyncio.sleep(self._fault.restore_s)
        records = await self._consumer.getmany(*args, **options)
        if self._restores and records:
            self._fault.reach("restore")
            left = ((partition, self._after_skip(partition, found)) for partition, found in records.items())
            records = {partition: kept for partition, kept in left if kept}
        return records

    def _after_skip(self, partition: Any, records: list[Any]) -> list[Any]:
        # What describes the changelog stays: without it, the worker would refuse to go on.
        kept = []
        for record in records:
            if self._skips[partition] and not is_reserved(record.key):
                self._skips[partition] -= 1
            else:
                kept.append(record)
        return kept


class FaultyClients(Clients):
    """A factory whose clients come to the points of a fault; `broken` builds change what it makes."""

    fault = Fault(None)
    restore_skip = 0
    isolates = True
    rename: Callable[[str], str] = staticmethod(lambda transactional_id: transactional_id)

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings)

    def async_producer(self, **options: Any) -> Any:
        name = options.get("transactional_id")
        if name is not None:
            options["transactional_id"] = type(self).rename(name)
        return FaultyProducer(super().async_producer(**options), self.fault, name)

    def async_consumer(self, *topics: str, **options: Any) -> Any:
        if not self.isolates:
            options["read_committed"] = False
        return FaultyConsumer(super().async_consumer(*topics, **options), self.fault, self.restore_skip)


def install(fault: Fault) -> None:
    """Put a fault into this process; call it once, before the worker is built."""
    FaultyClients.fault = fault
    build.Clients = FaultyClients  # type: ignore[attr-defined]
    _around(ListenBatch, "fold", fault, lambda _: ("fold", "folded"))
    _around(ListenBatch, "erase", fault, lambda _: (None, "erase"))
    _around(PartitionTable, "write", fault, lambda _: ("write", "written"))
    _around(PartitionTable, "load", fault, lambda _: ("restore_write", None))
    _around_async(Restorer, "restore", fault, lambda _: (None, "restored"))
    _around_async(ListenLane, "on_revoked", fault, lambda lane: _revoke_points(lane))
    _around_async(ListenLane, "on_assigned", fault, lambda _: (None, "assigned"))
    _around_async(FaustHost, "committed", fault, lambda _: (None, "positions"))


def _revoke_points(lane: Any) -> tuple[str | None, str | None]:
    return ("revoke", "revoked") if lane._task is not None else (None, None)


def _around(owner: type, name: str, fault: Fault, points: Callable[[Any], tuple[str | None, str | None]]) -> None:
    inner = getattr(owner, name)

    def outer(self: Any, *args: Any, **options: Any) -> Any:
        before, after = points(self)
        if before is not None:
            fault.reach(before)
        result = inner(self, *args, **options)
        if after is not None:
            fault.reach(after)
        return result

    setattr(owner, name, outer)


def _around_async(owner: type, name: str, fault: Fault, points: Callable[[Any], tuple[str | None, str | None]]) -> None:
    inner = getattr(owner, name)

    async def outer(self: Any, *args: Any, **options: Any) -> Any:
        before, after = points(self)
        if before is not None:
            fault.reach(before)
        result = await inner(self, *args, **options)
        if after is not None:
            fault.reach(after)
        return result

    setattr(owner, name, outer)
