"""Faults inside a worker: when it reaches a point for the n-th time, it is killed or paused, or a call fails.

Points of one batch, in order: begin, sent (all records acknowledged), offsets (part of the transaction), committed
(acknowledged, nothing written to the local table), written.
"""

import os
import signal
from typing import Any

from aiokafka.errors import NotEnoughReplicasError

from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.listens.table.partition import PartitionTable

POINTS = ("begin", "sent", "offsets", "committed", "written")


class Fault:
    """A fault: action, point and occurrence.

    Args:
        point: One of `POINTS`.
        at: Occurrence, from 1.
        action: kill (SIGKILL), pause (SIGSTOP, until it is continued), or refuse (a retriable error).
    """

    def __init__(self, point: str, at: int, action: str = "kill") -> None:
        self.point, self.at, self.action = point, at, action
        self.count = 0

    def reach(self, point: str) -> None:
        """Reach a point."""
        if point != self.point:
            return
        self.count += 1
        if self.count == self.at:
            print(f"fault: {self.action} at {point}", flush=True)
            if self.action == "refuse":
                raise NotEnoughReplicasError
            os.kill(os.getpid(), signal.SIGKILL if self.action == "kill" else signal.SIGSTOP)


class FaultyProducer:
    """A transactional producer that reaches the points of a fault."""

    def __init__(self, producer: Any, fault: Fault) -> None:
        self._producer = producer
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    async def begin_transaction(self) -> None:
        self._fault.reach("begin")
        await self._producer.begin_transaction()

    async def send_offsets_to_transaction(self, offsets: Any, group_id: str) -> None:
        await self._producer.flush()
        self._fault.reach("sent")
        await self._producer.send_offsets_to_transaction(offsets, group_id)
        self._fault.reach("offsets")

    async def commit_transaction(self) -> None:
        await self._producer.commit_transaction()
        self._fault.reach("committed")


class FaultyClients(Clients):
    """A factory whose transactional producers reach the points of a fault."""

    def __init__(self, settings: KafkaSettings, fault: Fault) -> None:
        super().__init__(settings)
        self._fault = fault
        write = PartitionTable.write

        def faulty_write(table: PartitionTable, values: Any, positions: Any) -> None:
            write(table, values, positions)
            if positions.source_next >= 0:
                fault.reach("written")

        PartitionTable.write = faulty_write  # type: ignore[method-assign]

    def async_producer(self, **options: Any) -> Any:
        producer = super().async_producer(**options)
        return producer if options.get("transactional_id") is None else FaultyProducer(producer, self._fault)
