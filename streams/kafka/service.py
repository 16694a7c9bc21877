"""Base class of worker services that follow topics."""

from collections.abc import Sequence

from mode import Service

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.read_rules import Batch

_POLL_MS = 500


class FollowingService(Service):
    """Follows whole topics from their beginning until stopped; subclasses handle the records.

    Args:
        clients: Kafka client factory.
        *topics: Topics; partitions added later are followed too.
    """

    mundane_level = "debug"

    def __init__(self, clients: Clients, *topics: TopicSpec) -> None:
        super().__init__()
        self._follower = Follower(clients, {topic.name: range(topic.partitions) for topic in topics}, grows=True)

    def on_batches(self, batches: Sequence[Batch]) -> None:
        """Handle new records (at least one batch); called on the event loop."""
        raise NotImplementedError

    async def on_start(self) -> None:
        """Connect and start reading; existing records arrive as fast as Kafka delivers them."""
        await self._follower.open()
        self.add_future(self._follow())

    async def on_stop(self) -> None:
        """Close the connection."""
        await self._follower.close()

    async def _follow(self) -> None:
        while not self.should_stop:
            if batches := await self._follower.poll(_POLL_MS):
                self.on_batches(batches)
