"""Polls Kafka, independently of all consumers, for its liveness and the end offsets of the worker's topics.

A consumer whose fetcher died silently gets no records and looks idle; only an independent client can see that work is
waiting. End offsets are those for `read_committed`: records of an open transaction are not waiting work.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP
from mode import Service

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.progress import Work

_ANSWER_S = 2.0


class Backlog(Service):
    """The end offsets of topics, at most a few seconds old while Kafka answers.

    Args:
        clients: Kafka clients.
        topics: Topics to poll.
        every_s: Polling interval.
        app: The Faust app, for the positions of its own consumer.
        seconds: Monotonic clock in seconds.
    """

    mundane_level = "debug"

    def __init__(
        self,
        clients: Clients,
        topics: Iterable[TopicSpec],
        every_s: float,
        app: faust.App,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._clients = clients
        self._partitions = [TopicPartition(topic.name, p) for topic in topics for p in range(topic.partitions)]
        self._every_s = every_s
        self._app = app
        self._seconds = seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._ends: dict[str, dict[int, int]] = {}
        self._positions: dict[TP, int] = {}
        self._answered_at_s: float | None = None
        self._answers = False

    @property
    def answers(self) -> bool:
        """Whether Kafka answered the last request."""
        return self._answers

    def ends(self, topic: str) -> Mapping[int, int]:
        """Return a topic's end offsets by partition; empty before the first answer."""
        return self._ends.get(topic, {})

    def not_ready(self) -> list[str]:
        """Return a reason while Kafka does not answer; before the first answer other parts report it."""
        if self._answers or self._answered_at_s is None:
            return []
        silent_s = self._seconds() - self._answered_at_s
        return [f"kafka: no answer from {self._clients.bootstrap} for {silent_s:.0f} s"]

    def unread(self, topic: str) -> Work:
        """Return what Faust's own consumer has not fetched yet of its assigned partitions.

        Args:
            topic: A topic with an agent.

        Returns:
            The number of waiting records, and the consumer's positions.
        """
        ends = self.ends(topic)
        read = {tp.partition: position for tp, position in self._positions.items() if tp.topic == topic}
        waiting = sum(max(0, ends.get(partition, 0) - position) for partition, position in read.items())
        return Work(waiting, tuple(sorted(read.items())))

    async def on_start(self) -> None:
        """Connect and start polling."""
        self._consumer = self._clients.async_consumer()
        await self._consumer.start()
        self.add_future(self._poll(self._consumer))

    async def on_stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        while not self.should_stop:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    found = await consumer.end_offsets(self._partitions)
            except (KafkaError, TimeoutError):
                self._answers = False
            else:
                self._answers, self._answered_at_s = True, self._seconds()
                for partition, end in found.items():
                    self._ends.setdefault(partition.topic, {})[partition.partition] = end
            await self._read_positions()
            await self.sleep(self._every_s)

    async def _read_positions(self) -> None:
        """Read the positions of Faust's consumer; one that cannot be read keeps its last known value."""
        faust_consumer = self._app._consumer
        wanted = {partition.topic for partition in self._partitions}
        lanes = getattr(self._app.transport, "lanes", {})
        if faust_consumer is None:
            return
        try:
            held = {tp for tp in faust_consumer.assignment() if tp.topic in wanted and tp.topic not in lanes}
        except ConsumerNotStarted:
            return
        positions: dict[TP, int] = {}
        for tp in held:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    position = await faust_consumer.position(tp)
            except (ConsumerNotStarted, KafkaError, TimeoutError):
                position = self._positions.get(tp)
            if position is not None:
                positions[tp] = position
        self._positions = positions
