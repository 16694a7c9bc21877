"""Reads the control topics without a group, from their start and then as they grow, and wakes who listens."""

import asyncio
import contextlib

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.generations.orders import Orders
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.progress import IDLE, Work

_log = get_log(__name__)

_POLL_MS = 500
_LOOK_S = 0.1


class ControlReader(Service):
    """The orders of this installation, as fresh as Kafka gives them.

    Args:
        clients: The Kafka.
        topics: All topics.
        metrics: Counts records that cannot be read.
    """

    mundane_level = "debug"

    def __init__(self, clients: Clients, topics: Topics, metrics: Metrics) -> None:
        super().__init__()
        self.orders = Orders()
        self._clients = clients
        self._metrics = metrics
        self._generations = TopicPartition(topics.generations.name, 0)
        self._reports = TopicPartition(topics.generation_reports.name, 0)
        self._consumer: AIOKafkaConsumer | None = None
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
        return IDLE if self._consumer is None or self._read_once.is_set() else Work(1, self._num_read)

    async def on_start(self) -> None:
        """Read what is there; returns once all of it is known."""
        consumer = self._clients.async_consumer()
        await consumer.start()
        self._consumer = consumer
        partitions = [self._generations, self._reports]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        self.add_future(self._read(consumer))
        await self.wait(self.catch_up())

    async def on_stop(self) -> None:
        """Close the consumer."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def catch_up(self) -> None:
        """Wait until all is known that the topics hold now."""
        consumer = self._consumer
        if consumer is None:
            return
        ends = await consumer.end_offsets([self._generations, self._reports])
        news = self.news()
        try:
            while True:
                news.clear()
                if all([await consumer.position(partition) >= end for partition, end in ends.items()]):
                    break
                with contextlib.suppress(TimeoutError):  # positions also move over what is no record
                    await asyncio.wait_for(news.wait(), _LOOK_S)
        finally:
            self._listeners.remove(news)
        self._read_once.set()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while not self.should_stop:
            batches = await consumer.getmany(timeout_ms=_POLL_MS)
            for partition, records in batches.items():
                for record in records:
                    self._take(partition, record.key, record.value, record.offset)
            if batches:
                for listener in self._listeners:
                    listener.set()

    def _take(self, partition: TopicPartition, key: bytes | None, value: bytes | None, offset: int) -> None:
        self._num_read += 1
        try:
            if partition == self._generations:
                self.orders.order(key, value, offset)
            else:
                self.orders.report(key, value)
        except BadRecord as exc:
            self._metrics.generation_refusals.labels("bad_order").inc()
            _log.warning(
                "control record skipped", topic=partition.topic, offset=offset, reason=exc.reason, detail=exc.detail
            )
