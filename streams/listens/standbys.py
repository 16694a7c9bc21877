"""Standby tables of a worker: kept current from their changelog, so that a dead owner's partition is soon ready here.

The group's leader chooses the standbys (`group.distribution`), and prefers them when it assigns a partition anew.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mode import Service

from sidestream.streams.errors import LaneInterrupted, SidestreamError
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.restore.source_check import SourceCheck
from sidestream.streams.listens.table.cleanup import local_tables, partition_of_table
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.lane_protocol import HeldTables
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.waiting import run_in_thread

_log = get_log(__name__)

RETRY_S = 5.0
# A standby that lacks no more changelog records than this is current: its owner has restored them in 0.1 s.
CURRENT_RECORDS = 10_000
# How long a lasting failure of a standby is not logged again: texts of RocksDB differ with each attempt.
QUIET_S = 60.0


@dataclass(slots=True, eq=False)
class _Standby:
    """One partition that is followed.

    Attributes:
        task: Follows it.
        is_handed_over: Whether its table is the owner's by now, who also closes it.
        is_ending: Whether its task has been cancelled; a failure of what it then cleans up would hide that.
        trouble: Why it was not followed at last; None if there was nothing.
        quiet_until_s: Until when troubles are not logged again, monotonic.
    """

    task: "asyncio.Task[None] | None" = None
    is_handed_over: bool = False
    is_ending: bool = False
    trouble: str | None = None
    quiet_until_s: float = 0.0


class Standbys(Service):
    """Follows the changelogs of partitions that other workers own.

    A standby closes its table when it ends, unless the owner has taken it over by then. No failure ends it: the data of
    the table is in its changelog, so it is opened again, or rebuilt where it is damaged.

    Args:
        tables: Local tables.
        restorer: Follows changelogs; takes a standby's table over when its partition is restored.
        check: Compares tables and topics.
        until_idle: Waits for what goes before a standby: the users of an owned partition wait for its table.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        tables: UserTable,
        restorer: Restorer,
        check: SourceCheck,
        until_idle: Callable[[], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._until_idle = until_idle
        self._tables, self._restorer, self._check, self._clock = tables, restorer, check, clock
        self._following: dict[int, _Standby] = {}
        # Those whose partition is owned now: kept current until the owner opens the table.
        self._promoted: dict[int, _Standby] = {}
        # Cancelled tasks by partition, until they have closed their tables.
        self._ending: dict[int, set[asyncio.Task[None]]] = {}

    mundane_level = "debug"

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions that are followed."""
        return frozenset(self._following)

    @property
    def troubles(self) -> Mapping[int, str]:
        """Why standbys are not current, by partition."""
        standbys = sorted(self._following.items())
        return {p: one.trouble for p, one in standbys if one.trouble is not None and self._restorer.behind(p) != 0}

    def keep(self, partitions: frozenset[int], owned: frozenset[int]) -> None:
        """Set the partitions to follow.

        Args:
            partitions: Standbys of this worker.
            owned: Partitions that it owns, or is still giving up; their owner calls `hand_over`.
        """
        for partition in self._following.keys() - (partitions - owned):
            standby = self._following.pop(partition)
            if partition in owned and self._restorer.follows(partition):
                self._promoted[partition] = standby
            else:
                self._end(partition, standby)
        for partition in self._promoted.keys() - owned:
            self._end(partition, self._promoted.pop(partition))
        for partition in partitions - owned - self._following.keys():
            standby = self._following[partition] = _Standby()
            standby.task = asyncio.create_task(
                self._follow(partition, standby), name=f"standby of partition {partition}"
            )

    async def hand_over(self, partition: int) -> None:
        """Give the table of a partition to its owner: afterwards it is closed, or followed by the restorer.

        Args:
            partition: Partition that this worker owns; its restore takes a table that is followed over.
        """
        if (standby := self._promoted.pop(partition, None)) is not None:
            if self._restorer.follows(partition):
                standby.is_handed_over = True
            else:
                self._end(partition, standby)
        await self._until_ended(partition)

    def lags(self) -> Mapping[int, tuple[int | None, int | None]]:
        """Return how far each standby is behind: in offsets, and in ms since it was last complete; None if unknown."""
        return {p: (self._restorer.behind(p), self._restorer.lag_ms(p)) for p in sorted(self._following)}

    def held_tables(self, ready: frozenset[int]) -> HeldTables:
        """Return the local tables, for the group's leader; called from any thread.

        Args:
            ready: Partitions that this worker owns and serves.

        Returns:
            Those that are current, and all.
        """
        behind = {partition: self._restorer.behind(partition) for partition in list(self._following)}
        current = {partition for partition, some in behind.items() if some is not None and some <= CURRENT_RECORDS}
        topic = self._tables.identity.source_topic
        on_disk = {partition_of_table(p) for p in local_tables(self._tables.folder) if p.parent.name == topic}
        return HeldTables(ready | current, frozenset(on_disk))

    async def on_stop(self) -> None:
        """Stop following, and close the tables."""
        await self.close()

    async def close(self) -> None:
        """Stop following, and close the tables; idempotent."""
        for standbys in (self._following, self._promoted):
            while standbys:
                self._end(*standbys.popitem())
        while ending := set(itertools.chain.from_iterable(self._ending.values())):
            await asyncio.wait(ending)

    def _end(self, partition: int, standby: _Standby) -> None:
        if (task := standby.task) is None or task.done():
            return
        standby.is_ending = True
        task.cancel()
        ending = self._ending.setdefault(partition, set())
        ending.add(task)
        task.add_done_callback(ending.discard)

    async def _until_ended(self, partition: int) -> None:
        while ending := self._ending.get(partition):
            await asyncio.wait(ending)

    async def _follow(self, partition: int, standby: _Standby) -> None:
        await self._until_ended(partition)
        try:
            while not standby.is_ending:
                is_of_table = False
                try:
                    await self._follow_once(partition)
                    standby.is_handed_over = True  # the restore has taken the table over
                except Exception as exc:  # noqa: BLE001 - rocksdict raises bare Exception
                    is_of_table = not isinstance(exc, LaneInterrupted)
                    if not standby.is_handed_over:  # otherwise the owner meets it too
                        self._note(partition, standby, exc)
                if standby.is_handed_over:
                    return
                await asyncio.sleep(RETRY_S)
                if is_of_table:  # a table that is open is not replaced, even if it is damaged
                    await run_in_thread(self._tables.close, [partition])
        finally:
            if not standby.is_handed_over:
                await run_in_thread(self._tables.close, [partition])

    async def _follow_once(self, partition: int) -> None:
        if self._until_idle is not None:
            await self._until_idle()
        await self._check.read_topics()
        table = (await run_in_thread(self._tables.open, [partition]))[partition]
        await self._check.before_restore(partition, table)
        await self._restorer.follow(partition, table, self._check.removals_kept_ms)

    def _note(self, partition: int, standby: _Standby, exc: Exception) -> None:
        trouble = str(exc) if isinstance(exc, SidestreamError) else repr(exc)
        if self._clock() >= standby.quiet_until_s:
            standby.quiet_until_s = self._clock() + QUIET_S
            _log.warning("standby is not kept current now", partition=partition, detail=trouble)
        standby.trouble = trouble
