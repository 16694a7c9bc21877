"""Who listens to live items: taken from the batches of the listen lane, told to the items' owners every few seconds.

Listens are keyed by user and live items by item, so sums travel: one record an item, partition and publication, on
`live-listeners.v1`. A listener counts with the state that holds the listen itself; the live item is left out of it, or
an item would listen to itself. Only listens with a positive signal count (`sidestream.models.records.signals`).

A listener's vector is what the SIDs of the listens stand for. Under a tokenizer with trained levels (`vq`) SIDs stand
for points behind its encoder, and the artifact keeps no way back: such listeners have no vector, live items are made of
their words alone, and the log says so once for each version.

The lane's own work does not wait for any of this: counting takes one look a listen in a set of ids, and sums are sent
by a task of its own. What is not sent yet when a worker dies is lost to the mean; nothing else rests on it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import history
from sidestream.models.records.signals import is_positive
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.batch import Listens
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.tokenizing.live.ids import LiveIds
from sidestream.streams.tokenizing.live.reading import listeners_value
from sidestream.tokenizer.live import Audience, LiveCodebooks, LiveSettings, RecentListen, listener_vectors
from sidestream.tokenizer.live.vectors import Float64
from sidestream.tokenizer.sid import item_key

_log = get_log(__name__)


class LiveAudience(Service):
    """Sums of listeners of live items.

    Args:
        clients: The Kafka.
        topic: `live-listeners.v1`.
        ids: Which items are live.
        books: The tokenizers that are loaded.
        settings: Half-lives, and how often sums are told.
    """

    mundane_level = "debug"

    def __init__(
        self, clients: Clients, topic: TopicSpec, ids: LiveIds, books: Iterable[LiveCodebooks], settings: LiveSettings
    ) -> None:
        super().__init__()
        self._clients, self._topic, self._ids, self._settings = clients, topic.name, ids, settings
        self._told: set[str] = set()
        self.use(books)
        self._audience = Audience(settings.listener_half_life_s)
        self._producer: AIOKafkaProducer | None = None

    def use(self, books: Iterable[LiveCodebooks]) -> None:
        """Make listeners' vectors under these tokenizers from now on.

        Args:
            books: The tokenizers that are loaded.
        """
        self._books = {one.version: one for one in books}
        for version in sorted(version for version, one in self._books.items() if not one.is_invertible):
            if version not in self._told:
                self._told.add(version)
                _log.warning(
                    "live items get no part of their listeners under this tokenizer: the SIDs of its trained levels "
                    "lead back to no vector; kmeans levels have it",
                    tokenizer=version,
                )

    def folded(self, partition: int, listens: Listens, states: Mapping[bytes, bytes | None]) -> None:
        """Count the listens of a durable batch that are to live items.

        Args:
            partition: Of the listens.
            listens: By user, with their source offsets.
            states: The users' states after them; a user whose state did not change has none.
        """
        live = self._ids.now
        if not live:
            return
        for user, of_user in listens.items():
            for offset, listen in of_user:
                if listen.item_id in live and is_positive(listen.signal):
                    vectors = self._vectors(listen, states.get(user))
                    self._audience.add_listen(listen.item_id, partition, offset, listen.at, vectors)

    async def on_start(self) -> None:
        """Open the producer and begin to tell."""
        producer = self._producer = self._clients.async_producer()
        await producer.start()
        self.add_future(self._tell_often(producer))

    async def on_stop(self) -> None:
        """Tell what is left, then close the producer."""
        if self._producer is not None:
            await self._tell(self._producer)
            await self._producer.stop()

    async def revoked(self, *args: Any, **kwargs: Any) -> None:
        """Tell what is left, and begin anew: the listens may go to another worker."""
        del args, kwargs
        if self._producer is not None:
            await self._tell(self._producer)
        self._audience.clear()

    def _vectors(self, listen: ListenRow, state: bytes | None) -> Mapping[str, Float64]:
        key = item_key(listen.item_id)
        recent = [
            RecentListen(listen.at - event.at, event.tokenizer_version, event.codes)
            for event in history(state, {})
            if event.tokenizer_version is not None
            and event.codes is not None
            and event.item_key != key
            and is_positive(event.signal)
        ]
        return listener_vectors(recent, self._books, self._settings.history_half_life_s)

    async def _tell_often(self, producer: AIOKafkaProducer) -> None:
        while not self.should_stop:
            await self.sleep(self._settings.publish_s)
            if not self.should_stop:  # then the last word is `on_stop`'s
                await self._tell(producer)

    async def _tell(self, producer: AIOKafkaProducer) -> None:
        try:
            acks = [
                await producer.send(self._topic, listeners_value(item_id, partial), item_id.encode())
                for item_id, partial in self._audience.publish(self._ids.now)
            ]
            for ack in acks:
                await ack
        except KafkaError as exc:
            msg = f"{self._topic}: sums of listeners were not acknowledged ({exc!r}); check the broker, then restart"
            raise LaneError(msg) from exc
