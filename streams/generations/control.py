"""Follows the control topics without a consumer group, from their beginning, and signals every change."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord, BrokerError
from sidestream.streams.generations.orders import Orders
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.service import FollowingService
from sidestream.streams.kafka.read_rules import Batch, Place
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.progress import IDLE, Work

_log = get_log(__name__)

_CHECK_S = 0.1


class ControlReader(FollowingService):
    """Keeps the orders of this installation up to date.

    Args:
        clients: Kafka clients.
        topics: All topics.
        metrics: Counts malformed records.
    """

    def __init__(self, clients: Clients, topics: Topics, metrics: Metrics) -> None:
        super().__init__(clients, "generations", topics.generations, topics.generation_reports)
        self.orders = Orders()
        self._metrics = metrics
        self._generations = topics.generations.name
        self._listeners: list[asyncio.Event] = []
        self._read_once = asyncio.Event()
        self._num_read = 0

    def change_event(self) -> asyncio.Event:
        """Return an event that is set at every record; the caller clears it."""
        event = asyncio.Event()
        self._listeners.append(event)
        return event

    def not_ready(self) -> list[str]:
        """Return a reason until the orders have been read."""
        return [] if self._read_once.is_set() else ["generations: orders not read yet"]

    def work(self) -> Work:
        """Return one unit of work during the initial read."""
        is_idle = not self._follower.is_open or self._follower.is_waiting or self._read_once.is_set()
        return IDLE if is_idle else Work(1, self._num_read)

    async def on_start(self) -> None:
        """Read the existing records; returns once all are applied."""
        await super().on_start()
        await self.wait(self.catch_up())

    async def catch_up(self) -> None:
        """Wait until all records that the topics contain now are applied; waits while Kafka is away."""
        changed = self.change_event()
        ends: dict[Place, int] | None = None
        try:
            while not self.should_stop:
                changed.clear()
                with contextlib.suppress(BrokerError):  # the reader itself waits for Kafka, and says so
                    ends = await self._follower.ends() if ends is None else ends
                    await self._follower.refresh()
                    if all(self._follower.positions[place] >= end for place, end in ends.items()):
                        self._read_once.set()
                        return
                with contextlib.suppress(TimeoutError):  # positions also move over control records, without an event
                    await asyncio.wait_for(changed.wait(), _CHECK_S)
        finally:
            self._listeners.remove(changed)

    def on_batches(self, batches: Sequence[Batch]) -> None:
        """Apply orders and reports, then set the change events."""
        for batch in batches:
            for record in batch.records:
                self._apply(batch.place.topic, record)
        for listener in self._listeners:
            listener.set()

    def _apply(self, topic: str, record: Any) -> None:
        self._num_read += 1
        try:
            if topic == self._generations:
                self.orders.order(record.key, record.value, record.offset)
            else:
                self.orders.report(record.key, record.value)
        except BadRecord as exc:
            self._metrics.generation_refusals.labels("bad_order").inc()
            _log.warning(
                "malformed control record skipped",
                topic=topic,
                offset=record.offset,
                reason=exc.reason,
                detail=exc.detail,
            )
