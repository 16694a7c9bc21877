"""Saving of the catalogue on this disk, and resuming from it at the next start.

A save contains the state after some records and the offsets after them, never an offset that is not applied yet;
reading records twice is harmless. Its timestamp is a time at which the topic ended there or earlier: it is taken before
the end offsets are fetched from Kafka, and used once they are reached.

The writer thread only captures the state; a separate thread writes the files.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from sidestream.streams.catalogue.current import CurrentCatalogue
from sidestream.streams.catalogue.disk import LocalCatalogue, SavedOrigin
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.errors import BrokerError, SidestreamError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.restore.origin import describe_topics
from sidestream.streams.runtime.clock import Clock, WallClock
from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)

Write = Callable[..., Awaitable[Any]]
"""Calls a function in the writer thread."""


# Pause before the next save if Kafka did not return the end offsets of the topic.
_RETRY_S = 10.0


class CatalogueSaver:
    """Loads and saves the current catalogue.

    Args:
        live: The catalogue.
        local: Its folders.
        clients: Kafka client factory.
        settings: Interval and limits.
        clock: Wall clock, UTC epoch ms.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        live: CurrentCatalogue,
        local: LocalCatalogue,
        clients: Clients,
        settings: CatalogueSettings,
        clock: Clock | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live = live
        self._local = local
        self._clients = clients
        self._settings = settings
        self._clock = clock or WallClock()
        self._seconds = seconds
        self._files = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalogue-files")
        self._gives_up = threading.Event()
        self._topic = ""
        self._topic_id: str | None = None
        self._noted_at = self._reached_at = 0
        self._ends: dict[int, int] = {}
        self._next_s = 0.0
        self._saved: dict[int, int] | None = None
        self._task: asyncio.Future[bool] | None = None

    async def resume(self, topic: str, bounds: Mapping[int, tuple[int, int]], write: Write) -> dict[int, int]:
        """Load the catalogue saved by an earlier process.

        Args:
            topic: The topic.
            bounds: Current first and end offset by partition; call `on_caught_up` once the ends are reached.
            write: Calls a function in the writer thread.

        Returns:
            Next offset by partition; empty to read everything.
        """
        self._noted_at = self._clock()
        if self._clients.is_embedded or not self._settings.save_every_s:
            return {}
        self._topic = topic
        try:
            state = (await asyncio.to_thread(describe_topics, self._clients, self._topic)).get(self._topic)
        except SidestreamError as error:
            _log.warning("local catalogue ignored: the topic cannot be described", reason=str(error))
            return {}
        if state is None or state.topic_id is None:
            return {}
        self._topic_id = state.topic_id
        begun_s = self._seconds()
        origin: SavedOrigin | None = await write(self._local.load, self._topic, state, bounds, self._live.restore)
        if origin is None:
            return {}
        took_s = round(self._seconds() - begun_s, 3)
        self._saved = dict(enumerate(origin.positions))
        self._reached_at, self._next_s = origin.reached_at, self._seconds() + self._settings.save_every_s
        tail = sum(end for _, end in bounds.values()) - sum(origin.positions)
        _log.info("catalogue loaded from this disk", seconds=took_s, tail=tail)
        return dict(self._saved)

    def on_caught_up(self) -> None:
        """Note that the ends passed to `resume` are reached."""
        self._reached_at = self._noted_at

    async def step(
        self, ends: Callable[[], Awaitable[dict[int, int]]], positions: Mapping[int, int], write: Write
    ) -> None:
        """Save if due; called between batches, once the catalogue has caught up.

        Args:
            ends: Fetches the current end offsets; may raise `BrokerError`.
            positions: Next offset by partition after the applied records.
            write: Calls a function in the writer thread.
        """
        if self._ends:
            if any(positions[partition] < end for partition, end in self._ends.items()):
                return
            self._reached_at, self._ends = self._noted_at, {}
            if self._is_due(positions):
                await self._save(positions, write)
        elif self._is_due(positions):
            self._noted_at = self._clock()
            try:
                self._ends = await ends()
            except BrokerError as error:
                self._next_s = self._seconds() + _RETRY_S
                _log.warning(
                    "catalogue will be saved later: cannot fetch the end offsets of its topic", reason=str(error)
                )

    def give_up(self) -> None:
        """Save no more; a write in progress ends at its next piece and leaves no files."""
        self._gives_up.set()
        self._topic_id = None

    async def stop(self, positions: Mapping[int, int], write: Write) -> None:
        """Save changes since the last save, within the time limit.

        Args:
            positions: Next offset by partition after the applied records.
            write: Calls a function in the writer thread.
        """
        is_idle = self._task is None or self._task.done()
        if is_idle and self._topic_id is not None and self._reached_at and self._is_worth_it(positions):
            await self._save(positions, write)
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=self._settings.save_on_stop_s)
        self._gives_up.set()
        self._files.shutdown(wait=False, cancel_futures=True)

    def _is_due(self, positions: Mapping[int, int]) -> bool:
        idle = self._task is None or self._task.done()
        return idle and self._topic_id is not None and self._seconds() >= self._next_s and self._is_worth_it(positions)

    def _is_worth_it(self, positions: Mapping[int, int]) -> bool:
        return self._live.snapshot.num_items >= self._settings.save_min_items and dict(positions) != self._saved

    async def _save(self, positions: Mapping[int, int], write: Write) -> None:
        places = dict(positions)
        frozen = await write(self._live.capture)
        self._next_s = self._seconds() + self._settings.save_every_s
        self._saved = places
        in_order = [places[partition] for partition in sorted(places)]
        save = partial(
            self._local.save,
            frozen,
            self._topic,
            self._topic_id or "",
            in_order,
            self._reached_at,
            self._gives_up.is_set,
        )
        self._task = asyncio.get_running_loop().run_in_executor(self._files, save)
