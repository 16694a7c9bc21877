"""Standby tables of a worker: kept current from their changelog, so that a dead owner's partition is soon ready here.

Faust's assignor chooses the standbys, and prefers them when it assigns a partition anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from mode import Service

from sidestream.streams.errors import SidestreamError
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.restore.source_check import SourceCheck
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.waiting import run_in_thread

_log = get_log(__name__)

RETRY_S = 5.0


class Standbys(Service):
    """Follows the changelogs of partitions that other workers own.

    Args:
        tables: Local tables.
        restorer: Follows changelogs; takes a standby's table over when its partition is restored.
        check: Compares tables and topics.
        until_idle: Waits for what goes before a standby: the users of an owned partition wait for its table.
    """

    def __init__(
        self,
        tables: UserTable,
        restorer: Restorer,
        check: SourceCheck,
        until_idle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._until_idle = until_idle
        self._tables, self._restorer, self._check = tables, restorer, check
        self._following: dict[int, asyncio.Task[None]] = {}
        self._owned: frozenset[int] = frozenset()

    mundane_level = "debug"

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions that are followed."""
        return frozenset(self._following)

    def keep(self, partitions: frozenset[int], owned: frozenset[int]) -> None:
        """Set the partitions to follow.

        Args:
            partitions: Standbys of this worker.
            owned: Partitions that it owns; the restore of one that was a standby takes over its table.
        """
        self._owned = owned
        for partition in self._following.keys() - (partitions - owned):
            task = self._following.pop(partition)
            # The restore of a partition that is followed takes its table over, which ends the task.
            if partition not in owned or not self._restorer.follows(partition):
                task.cancel()
        for partition in partitions - owned - self._following.keys():
            self._following[partition] = asyncio.create_task(
                self._follow(partition), name=f"standby of partition {partition}"
            )

    def lags(self) -> Mapping[int, tuple[int | None, int | None]]:
        """Return how far each standby is behind: in offsets, and in ms since it was last complete; None if unknown."""
        return {p: (self._restorer.behind(p), self._restorer.lag_ms(p)) for p in sorted(self._following)}

    async def on_stop(self) -> None:
        """Stop following, and close the tables."""
        await self.close()

    async def close(self) -> None:
        """Stop following, and close the tables; idempotent."""
        tasks = list(self._following.values())
        self._following.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, partition: int) -> None:
        while partition not in self._owned:
            try:
                if self._until_idle is not None:
                    await self._until_idle()
                await self._check.read_topics()
                table = (await run_in_thread(self._tables.open, [partition]))[partition]
                await self._check.before_restore(partition, table)
                await self._restorer.follow(partition, table, self._check.removals_kept_ms)
                return  # taken over
            except asyncio.CancelledError:
                if partition not in self._owned:
                    await run_in_thread(self._tables.close, [partition])
                raise
            except SidestreamError as exc:
                _log.warning("standby is not kept current now", partition=partition, detail=str(exc))
                await asyncio.sleep(RETRY_S)
