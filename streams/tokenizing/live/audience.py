"""The audience of live items: counted from the batches of the listen lane, published every few seconds.

Listens are keyed by user and live items by item, so sums are sent to the items' partition owners: one record per item,
partition and publication, on `live-listeners.v1`. A listener counts with the state that contains the listen itself; the
live item is left out of that state, or an item would count as its own listener. Only listens with a positive signal
count (`models.records.signals`).

A listener's vector is decoded from the SIDs of the listens. Under a tokenizer with trained levels (`vq`) SIDs stand for
points behind its encoder, and the artifact holds no inverse: such listeners have no vector, live items get their SIDs
from their words alone, and the log says so once per version.

The listen lane does not wait for any of this: counting takes one lookup per listen in a set of ids, and sums are sent
by a separate task. Sums that are not sent yet when a worker dies, or when no broker takes them in time, are lost to the
mean; nothing else depends on them.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError
from mode import Service

from sidestream.models.data.rows import ListenRow
from sidestream.models.history import history
from sidestream.models.records.signals import is_positive
from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.errors import LaneError, NotAcknowledged
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.producer import LastingProducer
from sidestream.streams.listens.batch import Listens
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.tokenizing.live.ids import LiveIds
from sidestream.streams.tokenizing.live.reading import listeners_value
from sidestream.tokenizer.live import Audience, LiveCodebooks, LiveSettings, RecentListen, listener_vectors
from sidestream.tokenizer.live.vectors import Float64
from sidestream.tokenizer.sid import item_key

_log = get_log(__name__)

# How long a revocation or the worker's end waits for the last sums.
_LAST_S = 1.0


class LiveAudience(Service):
    """Sums over the listeners of live items.

    Args:
        clients: Kafka clients.
        topic: `live-listeners.v1`.
        ids: Which items are live.
        codebooks: Codebooks of the loaded tokenizers.
        settings: Half-lives, and how often sums are published.
    """

    mundane_level = "debug"

    def __init__(
        self,
        clients: Clients,
        topic: TopicSpec,
        ids: LiveIds,
        codebooks: Iterable[LiveCodebooks],
        settings: LiveSettings,
    ) -> None:
        super().__init__()
        self._clients, self._topic, self._ids, self._settings = clients, topic.name, ids, settings
        self._partitioner = topic.partitioner
        self._warned: set[str] = set()
        self.set_codebooks(codebooks)
        self._audience = Audience(settings.listener_half_life_s)
        self._producer: LastingProducer | None = None

    def set_codebooks(self, codebooks: Iterable[LiveCodebooks]) -> None:
        """Compute listener vectors under these tokenizers from now on."""
        self._codebooks = {one.version: one for one in codebooks}
        for version in sorted(version for version, one in self._codebooks.items() if not one.is_invertible):
            if version not in self._warned:
                self._warned.add(version)
                _log.warning(
                    "listeners have no influence on live items under this tokenizer: the SIDs of trained levels cannot "
                    "be decoded to a vector; those of kmeans levels can",
                    tokenizer=version,
                )

    def count_listens(self, partition: int, listens: Listens, states: Mapping[bytes, bytes | None]) -> None:
        """Count the listens to live items in a durable batch.

        Args:
            partition: Partition of the listens.
            listens: By user, with their source offsets.
            states: The users' states after the batch; `None` for a user whose state did not change.
        """
        live = self._ids.current
        if not live:
            return
        for user, of_user in listens.items():
            for offset, listen in of_user:
                if listen.item_id in live and is_positive(listen.signal):
                    vectors = self._vectors(listen, states.get(user))
                    self._audience.add_listen(listen.item_id, partition, offset, listen.at, vectors)

    async def on_start(self) -> None:
        """Open the producer and start to publish."""
        make = partial(self._clients.async_producer, partitioner=self._partitioner)
        producer = self._producer = LastingProducer(self._clients, "listeners of live items", make)
        await self.wait(producer.start())
        self.add_future(self._publish_regularly(producer))

    async def on_stop(self) -> None:
        """Publish the last sums, then close the producer."""
        if self._producer is not None:
            await self._publish(self._producer, _LAST_S)
            await self._producer.stop()

    async def on_revoked(self, *args: Any, **kwargs: Any) -> None:
        """Publish the last sums and start again from zero: another worker may get the listens from now on."""
        del args, kwargs
        if self._producer is not None:
            await self._publish(self._producer, _LAST_S)
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
        return listener_vectors(recent, self._codebooks, self._settings.history_half_life_s)

    async def _publish_regularly(self, producer: LastingProducer) -> None:
        while not self.should_stop:
            await self.sleep(self._settings.publish_s)
            if not self.should_stop:  # otherwise `on_stop` publishes the last sums
                await self._publish(producer)

    async def _publish(self, producer: LastingProducer, within_s: float | None = None) -> None:
        sums: list[Outgoing] = [
            (self._topic, item_id.encode(), listeners_value(item_id, partial), [])
            for item_id, partial in self._audience.publish(self._ids.current)
        ]
        try:
            if sums:
                await producer.send(sums, within_s=within_s)
        except NotAcknowledged:
            _log.warning("listener sums lost: Kafka is away", topic=self._topic, items=len(sums))
        except KafkaError as exc:
            msg = f"{self._topic}: listener sums were refused ({exc!r}); check the topic and our rights"
            raise LaneError(msg) from exc
