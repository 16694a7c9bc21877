"""Polls Kafka, independently of all consumers, for its liveness and the end offsets of this worker's partitions.

A consumer whose fetcher died silently gets no records and looks idle; only an independent client can see that work is
waiting. End offsets are those for `read_committed`: records of an open transaction are not waiting work.

Each leader is asked by itself, so that one that is away hides no other. A partition whose leader does not answer has no
end offset: records that nobody can read are no work that waits.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP
from mode import Service

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import Place
from sidestream.streams.runtime.progress import Work

_ANSWER_S = 2.0
_NAMED = 3


class Backlog(Service):
    """The end offsets of the partitions that this worker owns, at most a few seconds old.

    Args:
        clients: Kafka clients.
        topics: Topics to poll.
        every_s: Polling interval.
        app: The Faust app, for its assignment and the positions of its own consumer.
    """

    mundane_level = "debug"

    def __init__(self, clients: Clients, topics: Iterable[TopicSpec], every_s: float, app: faust.App) -> None:
        super().__init__()
        self._clients = clients
        self._topics = frozenset(topic.name for topic in topics)
        self._every_s = every_s
        self._app = app
        self._outage = clients.outages.of("kafka")
        self._consumer: AIOKafkaConsumer | None = None
        self._ends: dict[str, dict[int, int]] = {}
        self._positions: dict[TP, int] = {}
        self._answers = False

    @property
    def answers(self) -> bool:
        """Whether Kafka answered the last request, for all partitions."""
        return self._answers

    def ends(self, topic: str) -> Mapping[int, int]:
        """Return a topic's end offsets by owned partition; without those whose leader did not answer."""
        return self._ends.get(topic, {})

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
        """Start polling."""
        self.add_future(self._poll())

    async def on_stop(self) -> None:
        """Close the connection."""
        await self._close()

    async def _poll(self) -> None:
        while not self.should_stop:
            owned = self._owned()
            try:
                found = await self._ask(owned)
            except (KafkaError, TimeoutError):
                found = {}
                self._answers = False
                self._outage.begin(f"no answer from {self._clients.bootstrap}")
                await self._close()  # the next poll connects anew
            else:
                self._note_silent([tp for tp in owned if tp not in found])
            ends: dict[str, dict[int, int]] = defaultdict(dict)
            for tp, end in found.items():
                ends[tp.topic][tp.partition] = end
            self._ends = dict(ends)
            await self._read_positions()
            await self.sleep(self._every_s)

    def _note_silent(self, silent: Collection[TP]) -> None:
        self._answers = not silent
        if not silent:
            self._outage.end()
            return
        named = [str(Place(*tp)) for tp in sorted(silent)[:_NAMED]]
        more = [f"{len(silent) - _NAMED} more"] if len(silent) > _NAMED else []
        self._outage.begin(f"no leader answers for {', '.join(named + more)}")

    async def _ask(self, owned: Collection[TP]) -> dict[TP, int]:
        """Request end offsets, each leader by itself, without those of leaders that are away; raise without Kafka."""
        consumer = await self._opened()
        by_leader: dict[int | None, list[TopicPartition]] = defaultdict(list)
        for tp in owned:
            by_leader[consumer._client.cluster.leader_for_partition(tp)].append(TopicPartition(*tp))
        answers = await asyncio.gather(*(self._ends_of(consumer, asked) for asked in by_leader.values()))
        if not any(answers):
            async with asyncio.timeout(_ANSWER_S):
                await consumer.topics()  # nothing is owned, or no leader answers: does any broker?
        return {TP(*tp): end for ends in answers for tp, end in ends.items()}

    async def _ends_of(self, consumer: AIOKafkaConsumer, asked: list[TopicPartition]) -> dict[TopicPartition, int]:
        try:
            async with asyncio.timeout(_ANSWER_S):
                found: dict[TopicPartition, int] = await consumer.end_offsets(asked)
        except (KafkaError, TimeoutError):
            return {}
        return found

    async def _opened(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = self._clients.async_consumer()
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await consumer.start()
            except (KafkaError, TimeoutError):
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    def _owned(self) -> set[TP]:
        """Return the assigned partitions of the polled topics."""
        faust_consumer = self._app._consumer
        if faust_consumer is None:
            return set()
        try:
            return {TP(*tp) for tp in faust_consumer.assignment() if tp.topic in self._topics}
        except ConsumerNotStarted:
            return set()

    async def _read_positions(self) -> None:
        """Read the positions of Faust's consumer; one that cannot be read keeps its last known value."""
        faust_consumer = self._app._consumer
        if faust_consumer is None:
            return
        lanes = getattr(self._app.transport, "lanes", {})
        held = {tp for tp in self._owned() if tp.topic not in lanes}
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
