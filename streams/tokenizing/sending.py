"""What the catalogue agent sends to Kafka and restores from it, as long as its batch is wanted: waits for brokers."""

from collections.abc import Collection, Sequence
from functools import partial

from aiokafka.errors import KafkaError

from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import AccessError, BrokerError, LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.producer import LastingProducer
from sidestream.streams.tokenizing.live.service import LiveItemsService

_MAX_REQUEST_BYTES = 4 << 20
# Named in the messages of outages.
_PART = "tokenizing"


class AgentSender:
    """Sends the records of batches; each belongs to an epoch of the agent, and epochs may be abandoned.

    Args:
        clients: Kafka clients.
        states: `live-states.v1`, whose records are sent before all others.

    Attributes:
        producer: The producer, once started.
    """

    def __init__(self, clients: Clients, states: TopicSpec) -> None:
        self._states = states
        self._outage = clients.outages.of(_PART)
        self._first_wanted = 0
        make = partial(clients.async_producer, max_request_bytes=_MAX_REQUEST_BYTES)
        self.producer = LastingProducer(clients, _PART, make, self._partition_of)

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for Kafka."""
        return self._outage.is_on

    async def send(self, outgoing: Sequence[Outgoing], epoch: int) -> bool:
        """Send records, and wait until all are acknowledged.

        Args:
            outgoing: The records.
            epoch: That of their batch.

        Returns:
            Whether they are; False if the epoch was abandoned.

        Raises:
            LaneError: The broker refuses a record.
        """
        states = self._states.name
        try:
            # States first: what a crash between the two leaves unsent follows from them.
            for part in ([r for r in outgoing if r[0] == states], [r for r in outgoing if r[0] != states]):
                if part and not await self.producer.send(part, lambda: self._is_wanted(epoch)):
                    return False
        except KafkaError as exc:
            targets = " and ".join(sorted({topic for topic, *_ in outgoing}))
            msg = (
                f"{targets}: {len(outgoing)} records made from catalogue events were refused ({exc!r}); "
                "check the topic and our rights, then restart the worker: the events are consumed again"
            )
            raise LaneError(msg) from exc
        return self._is_wanted(epoch)

    async def restore(self, live: LiveItemsService, epoch: int, partitions: Collection[int] = ()) -> None:
        """Restore live items, unless the epoch is abandoned meanwhile.

        Args:
            live: The live items.
            epoch: That of the batch that needs them.
            partitions: Partitions of the batch.

        Raises:
            AccessError: Rights are missing.
            TopicError: The topic does not exist, or was recreated meanwhile.
        """
        while self._is_wanted(epoch):
            try:
                await live.restore(partitions)
            except AccessError:
                raise
            except BrokerError as error:
                await self._outage.wait(error)
            else:
                self._outage.end()
                return

    async def abandon(self, before: int) -> None:
        """Give up the batches of epochs before this one: nothing of them is written from now on."""
        self._first_wanted = before
        await self.producer.abandon()

    def _partition_of(self, topic: str, key: bytes | None) -> int | None:
        return self._states.partition_of(key) if topic == self._states.name and key else None

    def _is_wanted(self, epoch: int) -> bool:
        return epoch >= self._first_wanted
