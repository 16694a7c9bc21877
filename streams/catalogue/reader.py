"""Reads all of `item-sids.v1` without a group (every worker has the whole catalogue) and keeps the live one fresh.

Ready once the end offsets seen at the start are reached and a snapshot over them is current. Decoding, applying and
building run in one thread of their own: the event loop only moves bytes. Where an earlier process has saved the
catalogue on this disk, only what came since is read.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.saving import Saving, records_behind
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.log import get_log
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.tokenizer.catalogue import CatalogueSnapshot

_log = get_log(__name__)


class CatalogueReader(Service):
    """The broadcast reader.

    Args:
        clients: The Kafka.
        topic: `item-sids.v1`.
        live: What the records are applied to.
        settings: Batch size and expiry check.
        seconds: Monotonic clock in seconds, the one that `live` uses.
        saving: Saves the catalogue on this disk; none reads all of the topic at every start.
    """

    mundane_level = "debug"

    def __init__(
        self,
        clients: Clients,
        topic: TopicSpec,
        live: CurrentCatalogue,
        settings: CatalogueSettings,
        seconds: Callable[[], float] = time.monotonic,
        saving: Saving | None = None,
    ) -> None:
        super().__init__()
        self._clients = clients
        self._live = live
        self._settings = settings
        self._seconds = seconds
        self._saving = saving
        self._next: dict[int, int] = {}
        self._partitions = [TopicPartition(topic.name, p) for p in range(topic.partitions)]
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalogue")
        self._consumer: AIOKafkaConsumer | None = None
        self._ends: dict[TopicPartition, int] = {}
        self._behind: int | None = None
        self.caught_up = asyncio.Event()

    @property
    def snapshot(self) -> CatalogueSnapshot:
        """Return the current snapshot."""
        return self._live.snapshot

    def save_nothing(self) -> None:
        """Give up what is being saved, and save no more: nobody will start from it."""
        if self._saving is not None:
            self._saving.give_up()

    def not_ready(self) -> list[str]:
        """Say how far the catalogue is behind; empty once it has caught up."""
        if self.caught_up.is_set():
            return []
        if self._behind is None:
            return ["catalogue: not read yet"]
        return [f"catalogue: behind by {self._behind:,}"]

    def work(self) -> Work:
        """Tell how much of the start is left; afterwards nothing waits, for nobody but us knows of news."""
        if self.caught_up.is_set() or self._behind is None:
            return IDLE
        return Work(self._behind, self._behind)

    async def on_start(self) -> None:
        """Read every partition from where it was saved, or its beginning; returns once the catalogue has caught up."""
        consumer = self._clients.async_consumer()
        await consumer.start()
        self._consumer = consumer
        consumer.assign(self._partitions)
        self._ends = dict(await consumer.end_offsets(self._partitions))
        if self._saving is not None:
            self._next = await self._saving.resume(consumer, self._ends, self._write)
        for partition in self._partitions:
            if partition.partition in self._next:
                consumer.seek(partition, self._next[partition.partition])
            else:
                await consumer.seek_to_beginning(partition)
                self._next[partition.partition] = await consumer.position(partition)
        self.add_future(self._read(consumer))
        await self.wait(self.caught_up.wait())

    async def on_stop(self) -> None:
        """Save what is worth it and close the consumer; a build under way is left to end by itself."""
        if self._saving is not None and self.caught_up.is_set():
            await self._saving.stop(self._next, self._write)
        if self._consumer is not None:
            await self._consumer.stop()
        self._writer.shutdown(wait=False, cancel_futures=True)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while not self.should_stop:
            batches = await consumer.getmany(timeout_ms=self._poll_ms(), max_records=self._settings.max_batch)
            records = [(record.key, record.value) for batch in batches.values() for record in batch]
            if records:
                await self._write(self._live.apply, records, self._seconds())
                # Only now: what is saved must not name an offset that is not applied.
                self._next |= {place.partition: batch[-1].offset + 1 for place, batch in batches.items() if batch}
            if self.caught_up.is_set():
                if self._live.is_stale and self._live.pace.wait_s() == 0.0:
                    await self._write(self._live.build, self._applied())
                if self._saving is not None:
                    await self._saving.step(consumer, self._next, self._write)
            elif await self._reached_ends(consumer):
                snapshot = await self._write(self._live.build, self._applied())
                if self._saving is not None:
                    self._saving.caught_up()
                self.caught_up.set()
                _log.info("catalogue caught up", items=snapshot.num_items, version=snapshot.version)

    def _applied(self) -> tuple[int, ...]:
        """Return, by partition, the offset below which all records are applied."""
        return tuple(self._next[place.partition] for place in self._partitions)

    def _poll_ms(self) -> int:
        """How long to wait for records: until the next build is due, or the next look for expired items."""
        if self.caught_up.is_set() and self._live.is_stale:
            return max(1, round(self._live.pace.wait_s() * 1e3))
        return self._settings.check_expiry_ms

    async def _reached_ends(self, consumer: AIOKafkaConsumer) -> bool:
        self._behind = await records_behind(consumer, self._ends)
        return self._behind == 0

    async def _write(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call, *args)
