"""Background service that keeps erased users off a worker's disk: deletes unused tables, and settles those in use."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from mode import Service

from sidestream.streams.errors import SidestreamError
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.cleanup import TableCleanup
from sidestream.streams.listens.table.settling import ROUNDS
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 60.0

InUse = Callable[[], Collection[int] | None]
"""Returns the partitions whose tables are in use, see `TableCleanup.due`."""


class TableUpkeep(Service):
    """Runs `TableCleanup` and `PartitionTable.settle` until the worker ends.

    Args:
        tables: Tables of this worker.
        in_use: Called in each step.
        settings: Times.
        metrics: Counts deleted tables.
        clock: Monotonic seconds.
    """

    mundane_level = "debug"

    def __init__(
        self,
        tables: UserTable,
        in_use: InUse,
        settings: LaneSettings,
        metrics: LaneMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._tables, self._in_use, self._metrics, self._clock = tables, in_use, metrics, clock
        self._cleanup = TableCleanup(tables.folder, tables.identity.source_topic, settings, clock)
        self._round_s = settings.table.purge_s / ROUNDS
        self._pause_s = min(_LONGEST_PAUSE_S, self._round_s, max(settings.table_cleanup_s / 4, 0.1))
        self._next_round_s = clock() + self._round_s

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            await self.step()
            await self.sleep(self._pause_s)

    async def step(self) -> None:
        """Delete the unused tables that are due, and do the rounds of those in use if it is time."""
        for path in self._cleanup.due(self._in_use()):
            try:
                is_deleted = await asyncio.to_thread(self._tables.remove, path)
            except (SidestreamError, OSError) as exc:
                logger.warning("user-state table %s: unused, and cannot be deleted: %s", path, exc)
                continue
            if is_deleted:
                logger.info("user-state table %s: deleted, its partition has left this worker", path)
                self._metrics.deleted_table()
        if self._clock() < self._next_round_s:
            return
        self._next_round_s = self._clock() + self._round_s
        for table in self._tables.opened():
            try:
                await asyncio.to_thread(table.settle)
            except Exception as exc:  # noqa: BLE001 - rocksdict raises bare Exception; the lane's next write reports it
                logger.warning("user-state table %s: superseded values stay for now: %s", table.path, exc)
