"""Which items are live: the keys of `live-states.v1`, read by every worker that folds listens, without a group."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients

_POLL_MS = 500


class LiveIds(Service):
    """The set of live items, a moment behind.

    Args:
        clients: The Kafka.
        topic: `live-states.v1`.
    """

    mundane_level = "debug"

    def __init__(self, clients: Clients, topic: TopicSpec) -> None:
        super().__init__()
        self._clients = clients
        self._places = [TopicPartition(topic.name, partition) for partition in range(topic.partitions)]
        self._consumer: AIOKafkaConsumer | None = None
        self.now: set[str] = set()

    async def on_start(self) -> None:
        """Read from the beginning; listens from before an item is known are not counted for it."""
        consumer = self._consumer = self._clients.async_consumer()
        await consumer.start()
        consumer.assign(self._places)
        await consumer.seek_to_beginning(*self._places)
        self.add_future(self._read(consumer))

    async def on_stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while not self.should_stop:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    self._note(record.key, record.value is not None)

    def _note(self, key: bytes | None, is_live: bool) -> None:
        item_id = (key or b"").decode(errors="replace")
        if is_live:
            self.now.add(item_id)
        else:
            self.now.discard(item_id)
