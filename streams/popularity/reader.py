"""Reads all of `item-counts.v1` without a group: every worker orders the whole catalogue.

A worker does not wait for it: until the counts are there, the catalogue has the order of the model's weights.
"""

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.popularity.current_counts import CountsHub

_POLL_MS = 500


class CountsReader(Service):
    """The broadcast reader.

    Args:
        clients: The Kafka.
        topic: `item-counts.v1`.
        live: What the records are fed to.
    """

    mundane_level = "debug"

    def __init__(self, clients: Clients, topic: TopicSpec, live: CountsHub) -> None:
        super().__init__()
        self._clients = clients
        self._live = live
        self._partitions = [TopicPartition(topic.name, p) for p in range(topic.partitions)]
        self._consumer: AIOKafkaConsumer | None = None

    async def on_start(self) -> None:
        """Read from the beginning of every partition."""
        consumer = self._clients.async_consumer()
        await consumer.start()
        self._consumer = consumer
        consumer.assign(self._partitions)
        await consumer.seek_to_beginning(*self._partitions)
        self.add_future(self._read(consumer))

    async def on_stop(self) -> None:
        """Close the consumer."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while not self.should_stop:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                self._live.feed((record.key, record.value) for record in records)
