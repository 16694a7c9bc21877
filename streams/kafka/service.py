"""A worker's service that follows topics and hands over what comes."""

from collections.abc import Sequence

from mode import Service

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.spans import Batch

_POLL_MS = 500


class FollowingService(Service):
    """Follows all of some topics from their beginning until it is stopped; subclasses say what becomes of the records.

    Args:
        clients: The Kafka.
        *topics: Topics; partitions that are added to them later are followed, too.
    """

    mundane_level = "debug"

    def __init__(self, clients: Clients, *topics: TopicSpec) -> None:
        super().__init__()
        self._follower = Follower(clients, {topic.name: range(topic.partitions) for topic in topics}, grows=True)

    def take(self, batches: Sequence[Batch]) -> None:
        """Take what has come; called on the event loop.

        Args:
            batches: At least one.
        """
        raise NotImplementedError

    async def on_start(self) -> None:
        """Connect and go on reading; what is there already comes as fast as Kafka gives it."""
        await self._follower.open()
        self.add_future(self._follow())

    async def on_stop(self) -> None:
        """Close the connection."""
        await self._follower.close()

    async def _follow(self) -> None:
        while not self.should_stop:
            if batches := await self._follower.poll(_POLL_MS):
                self.take(batches)
