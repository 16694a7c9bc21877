"""Reads the control topics without a group, from their start and then as they grow, and wakes who listens."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.generations.orders import Orders
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import Batch
from sidestream.streams.kafka.service import FollowingService
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.progress import IDLE, Work

_log = get_log(__name__)

_LOOK_S = 0.1


class ControlReader(FollowingService):
    """The orders of this installation, as fresh as Kafka gives them.

    Args:
        clients: The Kafka.
        topics: All topics.
        metrics: Counts records that cannot be read.
    """

    def __init__(self, clients: Clients, topics: Topics, metrics: Metrics) -> None:
        super().__init__(clients, topics.generations, topics.generation_reports)
        self.orders = Orders()
        self._metrics = metrics
        self._generations = topics.generations.name
        self._listeners: list[asyncio.Event] = []
        self._read_once = asyncio.Event()
        self._num_read = 0

    def news(self) -> asyncio.Event:
        """Return an event that is set at every record; its owner clears it."""
        event = asyncio.Event()
        self._listeners.append(event)
        return event

    def not_ready(self) -> list[str]:
        """Say so while the orders are not read."""
        return [] if self._read_once.is_set() else ["generations: orders not read yet"]

    def work(self) -> Work:
        """Tell whether the first reading is under way."""
        return IDLE if not self._follower.is_open or self._read_once.is_set() else Work(1, self._num_read)

    async def on_start(self) -> None:
        """Read what is there; returns once all of it is known."""
        await super().on_start()
        await self.wait(self.catch_up())

    async def catch_up(self) -> None:
        """Wait until all is known that the topics hold now.

        Raises:
            BrokerError: Kafka does not say where they end.
        """
        follower = self._follower
        if not follower.is_open:
            return
        ends = await follower.ends()
        news = self.news()
        try:
            while follower.is_open:
                news.clear()
                await follower.refresh()
                if all(follower.positions[place] >= end for place, end in ends.items()):
                    break
                with contextlib.suppress(TimeoutError):  # positions also move over what is no record
                    await asyncio.wait_for(news.wait(), _LOOK_S)
        finally:
            self._listeners.remove(news)
        self._read_once.set()

    def on_batches(self, batches: Sequence[Batch]) -> None:
        """Take orders and reports, and wake who listens.

        Args:
            batches: Of both topics.
        """
        for batch in batches:
            for record in batch.records:
                self._take(batch.place.topic, record)
        for listener in self._listeners:
            listener.set()

    def _take(self, topic: str, record: Any) -> None:
        self._num_read += 1
        try:
            if topic == self._generations:
                self.orders.order(record.key, record.value, record.offset)
            else:
                self.orders.report(record.key, record.value)
        except BadRecord as exc:
            self._metrics.generation_refusals.labels("bad_order").inc()
            _log.warning(
                "control record skipped", topic=topic, offset=record.offset, reason=exc.reason, detail=exc.detail
            )
