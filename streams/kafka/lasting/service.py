"""Base class of worker services that follow topics."""

from collections.abc import Sequence

from mode import Service

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.follower import LastingFollower
from sidestream.streams.kafka.read_rules import Batch

_POLL_MS = 500


class FollowingService(Service):
    """Follows whole topics from their beginning until stopped; subclasses handle the records.

    It waits while Kafka is away, and then goes on where it was.

    Args:
        clients: Kafka client factory.
        part: What it reads, as messages name it.
        *topics: Topics; partitions added later are followed too.
    """

    mundane_level = "debug"

    def __init__(self, clients: Clients, part: str, *topics: TopicSpec) -> None:
        super().__init__()
        partitions = {topic.name: range(topic.partitions) for topic in topics}
        self._follower = LastingFollower(clients, partitions, part, grows=True)

    def on_batches(self, batches: Sequence[Batch]) -> None:
        """Handle new records (at least one batch); called on the event loop."""
        raise NotImplementedError

    async def on_start(self) -> None:
        """Connect and start reading; existing records arrive as fast as Kafka delivers them."""
        await self.wait(self._follower.open())
        self.add_future(self._follow())

    async def on_stop(self) -> None:
        """Close the connection."""
        await self._follower.close()

    async def _follow(self) -> None:
        while not self.should_stop:
            if batches := await self._follower.poll(_POLL_MS):
                self.on_batches(batches)
