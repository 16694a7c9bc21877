"""Catalogue reader: reads all of `item-sids.v1` without a group (every worker has the whole catalogue), and follows it.

Ready once the end offsets seen at the start are reached and the current snapshot includes them. Decoding, applying and
building run in a separate thread: the event loop only moves bytes. If an earlier process has saved the catalogue on
this disk, only later records are read.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mode import Service

from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.saving import CatalogueSaver
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.lasting.follower import LastingFollower
from sidestream.streams.kafka.read_rules import POLL_MS, Place
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.progress import IDLE, Work
from sidestream.tokenizer.catalogue import CatalogueSnapshot

_log = get_log(__name__)


class CatalogueReader(Service):
    """Reads the topic and applies its records to the current catalogue.

    Args:
        clients: Kafka client factory.
        topic: `item-sids.v1`.
        live: Catalogue to which the records are applied.
        settings: Batch size and expiry check.
        seconds: Monotonic clock in seconds, the same as that of `live`.
        saving: Saves the catalogue on this disk; None to read the whole topic at every start.
    """

    mundane_level = "debug"

    def __init__(
        self,
        clients: Clients,
        topic: TopicSpec,
        live: CurrentCatalogue,
        settings: CatalogueSettings,
        seconds: Callable[[], float] = time.monotonic,
        saving: CatalogueSaver | None = None,
    ) -> None:
        super().__init__()
        self._live = live
        self._settings = settings
        self._seconds = seconds
        self._saving = saving
        self._topic = topic.name
        partitions = {topic.name: range(topic.partitions)}
        self._follower = LastingFollower(clients, partitions, "catalogue", start=None, grows=True)
        self._next: dict[int, int] = {}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalogue")
        self._is_reading = False
        self.caught_up = asyncio.Event()

    @property
    def snapshot(self) -> CatalogueSnapshot:
        """Return the current snapshot."""
        return self._live.snapshot

    def save_nothing(self) -> None:
        """Abort a save in progress and save no more: no process will start from it."""
        if self._saving is not None:
            self._saving.give_up()

    def not_ready(self) -> list[str]:
        """Return how far the catalogue is behind; empty once it has caught up."""
        if self.caught_up.is_set():
            return []
        if not self._is_reading:
            return ["catalogue: not read yet"]
        return [f"catalogue: behind by {self._follower.behind:,}"]

    def work(self) -> Work:
        """Return the remaining records of the initial read; afterwards always idle."""
        if self.caught_up.is_set() or not self._is_reading or self._follower.is_waiting:
            return IDLE
        behind = self._follower.behind
        return Work(behind, behind)

    async def on_start(self) -> None:
        """Read every partition from its saved offset or its beginning; returns once the catalogue has caught up."""
        follower = self._follower
        await self.wait(follower.open())
        if self.should_stop:
            return
        bounds = {place.partition: bounds for place, bounds in follower.bounds.items()}
        saved: Mapping[int, int] = {}
        if self._saving is not None:
            saved = await self._saving.resume(self._topic, bounds, self._write)
        follower.seek({Place(self._topic, p): saved.get(p, begin) for p, (begin, _) in bounds.items()})
        follower.set_targets({place: end for place, (_, end) in follower.bounds.items()})
        self._note_applied()
        self.add_future(self._read())
        await self.wait(self.caught_up.wait())

    async def on_stop(self) -> None:
        """Save the catalogue if worthwhile and close the consumer; does not wait for a build in progress."""
        if self._saving is not None and self.caught_up.is_set():
            await self._saving.stop(self._next, self._write)
        await self._follower.close()
        self._writer.shutdown(wait=False, cancel_futures=True)

    async def _read(self) -> None:
        self._is_reading = True
        while not self.should_stop:
            batches = await self._follower.poll(self._poll_ms(), self._settings.max_batch)
            records = [(record.key, record.value) for batch in batches for record in batch.records]
            if records:
                await self._write(self._live.apply, records, self._seconds())
            self._note_applied()
            if self.caught_up.is_set():
                if self._live.is_stale and self._live.rebuilds.wait_s() == 0.0:
                    await self._write(self._live.build, self._applied())
                if self._saving is not None:
                    await self._saving.step(self._ends, self._next, self._write)
            elif self._follower.is_caught_up:
                snapshot = await self._write(self._live.build, self._applied())
                if self._saving is not None:
                    self._saving.on_caught_up()
                self.caught_up.set()
                _log.info("catalogue caught up", items=snapshot.num_items, version=snapshot.version)

    def _note_applied(self) -> None:
        # Only after a batch is applied: a saved catalogue must not contain an offset that is not applied.
        self._next = {place.partition: position for place, position in self._follower.positions.items()}

    def _applied(self) -> tuple[int, ...]:
        """Return, by partition, the offset below which all records are applied."""
        return tuple(self._next[partition] for partition in sorted(self._next))

    def _poll_ms(self) -> int:
        """Timeout of the next poll: until the next build is due, or the next check for expired items."""
        if not self.caught_up.is_set():
            return POLL_MS
        if self._live.is_stale:
            return max(1, round(self._live.rebuilds.wait_s() * 1e3))
        return self._settings.check_expiry_ms

    async def _ends(self) -> dict[int, int]:
        return {place.partition: end for place, end in (await self._follower.ends()).items()}

    async def _write(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call, *args)
