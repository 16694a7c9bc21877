"""Restore of local tables from their changelog, each partition by itself, with our own consumer and explicit positions.

The rules that make it safe, each learned from lost events:

* no group and no inherited position: every partition is sought to `stored + 1` before its first fetch;
* the end is fetched once, after the committed source offset and when no transaction is open before it, and reading
  stops by position, not by record: the last offsets of a transactional changelog are control records that are never
  delivered, and compaction leaves gaps;
* a database whose stored offset does not fit the changelog (past its end, or before its start, where records were
  deleted without being read) is cleared and rebuilt: the changelog is the source of truth, the database a cache;
* so is a database that was offline for longer than `delete.retention.ms`: it would miss tombstones that compaction
  has removed in the meantime, and restore erased users.

A partition that is followed keeps its table current until it is restored or released: a standby's table needs only the
tail of the changelog when its partition is taken over.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sidestream.streams.errors import BrokerError, LaneInterrupted
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.kafka.read_rules import POLL_MS, Place
from sidestream.streams.listens.restore.changelog import ChangelogReader, unreadable
from sidestream.streams.listens.restore.followed import FollowedTable
from sidestream.streams.listens.restore.progress import ProgressLog, RestoreProgress
from sidestream.streams.listens.restore.rebuild import rebuild_reason, reset
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.garbage_collection import collection_paused
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.waiting import run_in_thread

# Without progress for this long, the partition is opened again: its leader may have moved, or be gone.
STALLED_S = 20.0
# Pause after a request that Kafka refused.
FAILED_S = 0.5
# Of partitions that are only followed. A promotion waits for the end of a poll, so it is short; looking at the position
# of a partition takes some 10 µs, so it is longer for many.
FOLLOW_POLL_MS, LONGEST_FOLLOW_POLL_MS = 50, 500


class Restorer:
    """Restores tables, and keeps the tables of standbys current.

    Args:
        identity: Names the changelog, and the number of its partitions.
        clients: Kafka client factory.
        batch_records: Records in one bulk write.
        metrics: Counters.
        seconds: Monotonic clock.

    Attributes:
        progress: Progress by partition; replaced by each restore.
    """

    def __init__(
        self,
        identity: TableIdentity,
        clients: Clients,
        batch_records: int,
        metrics: LaneMetrics,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic = identity.changelog_topic
        self.progress: dict[int, RestoreProgress] = {}
        self._partitions = range(identity.num_partitions)
        self._clients, self._batch_records = clients, batch_records
        self._metrics, self._seconds = metrics, seconds
        self._log = ProgressLog(self.topic, self.progress)
        self._opening = asyncio.Lock()
        self._users = 0
        self._changelog: ChangelogReader | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._followed: dict[int, FollowedTable] = {}
        # When each table was last seen complete, monotonic; kept over the attempts to follow it.
        self._current_s: dict[int, float] = {}
        # Partitions whose restore has begun and was not completed.
        self._unfinished: set[int] = set()

    async def restore(
        self,
        partition: int,
        table: PartitionTable,
        removals_kept_ms: int | None = None,
        on_rebuild: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring a table up to the current end of its changelog, and stop following it.

        Args:
            partition: Partition number.
            table: Its open table; the one that is followed, if it is.
            removals_kept_ms: Minimum retention of tombstones in the changelog; None to skip the check of table ages.
            on_rebuild: Called before a table that does not fit is cleared: its states can no longer be read.

        Raises:
            LaneInterrupted: The changelog cannot be read now.
            RestoreError: The changelog does not fit the table, or holds what cannot be read.
        """
        async with self._open():
            try:
                end = await self._opened().stable_end(partition)
                followed = self._healthy(partition)
                if followed is None:
                    followed = await self._follow(partition, table, removals_kept_ms, on_rebuild)
                start = followed.position
                self.progress[partition] = RestoreProgress(partition, start, start, end)
                self._unfinished.add(partition)
                followed.restored, followed.moved_s = asyncio.Event(), self._seconds()
                await self._until_restored(partition, followed)
            finally:
                await self.release(partition)
            if followed.failure is not None:
                raise followed.failure
            # Concurrent flushes of several partitions take half as long: they wait for the disk.
            await run_in_thread(followed.finish, self.progress[partition].position)
        self._unfinished.discard(partition)
        if not self._unfinished:
            self._log.end()

    async def follow(self, partition: int, table: PartitionTable, removals_kept_ms: int | None = None) -> None:
        """Keep a table current until it is restored or released.

        Args:
            partition: Partition number.
            table: Its open table.
            removals_kept_ms: See `restore`.

        Raises:
            LaneInterrupted: The changelog cannot be read now.
            RestoreError: The changelog holds what cannot be read.
        """
        async with self._open():
            followed = await self._follow(partition, table, removals_kept_ms)
            try:
                await followed.stopped.wait()
            finally:
                if self._followed.get(partition) is followed:
                    await self.release(partition)
        if followed.failure is not None:
            raise followed.failure

    async def release(self, partition: int) -> None:
        """Stop following a partition; its table is at rest afterwards."""
        followed = self._followed.get(partition)
        if followed is None:
            return
        followed.is_ending = True
        if self._changelog is not None:
            self._changelog.records.pause(partition)
        await followed.end_bulk()
        followed.stopped.set()
        if self._followed.get(partition) is followed:
            del self._followed[partition]

    def follows(self, partition: int) -> bool:
        """Return whether a table is being kept current or restored."""
        return self._healthy(partition) is not None

    def behind(self, partition: int) -> int | None:
        """Return how many offsets of its changelog a followed table does not hold; None if that is not known."""
        followed = self._healthy(partition)
        end = None if followed is None or self._changelog is None else self._changelog.records.end_seen(partition)
        return None if followed is None or end is None else max(0, max(end, followed.end) - followed.written)

    def lag_ms(self, partition: int) -> int | None:
        """Return how long ago a table was last seen complete, in ms; None if what it holds never was."""
        if (current_s := self._current_s.get(partition)) is None:
            return None
        return 0 if self.behind(partition) == 0 else round(1e3 * (self._seconds() - current_s))

    def _healthy(self, partition: int) -> FollowedTable | None:
        """Return what is followed of a partition; None if that has failed, or is being released."""
        followed = self._followed.get(partition)
        return followed if followed is not None and followed.is_healthy else None

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        """Keep the consumers open while somebody uses them."""
        async with self._opening:
            if not self._users:
                await self._connect()
            self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                await self._disconnect()

    async def _connect(self) -> None:
        self.progress.clear()
        self._unfinished.clear()
        self._log = ProgressLog(self.topic, self.progress)
        changelog = ChangelogReader(self._clients, self.topic, self._partitions, self._seconds)
        await changelog.open()
        self._changelog = changelog
        self._pumping = asyncio.create_task(self._pump(changelog.records), name=f"reader of {self.topic}")

    async def _disconnect(self) -> None:
        pumping, self._pumping = self._pumping, None
        changelog, self._changelog = self._changelog, None
        if pumping is not None:
            pumping.cancel()
            await asyncio.wait({pumping})
        if changelog is not None:
            await changelog.close()

    def _opened(self) -> ChangelogReader:
        if self._changelog is None:
            msg = f"changelog {self.topic}: its reader was closed; the partition is opened again"
            raise LaneInterrupted(msg)
        return self._changelog

    async def _follow(
        self,
        partition: int,
        table: PartitionTable,
        removals_kept_ms: int | None,
        on_rebuild: Callable[[], None] = lambda: None,
    ) -> FollowedTable:
        """Start to read a partition after what its table holds; a table that does not fit is rebuilt."""
        await self.release(partition)  # one that has failed may still be writing
        changelog = self._opened()
        begin, end = await changelog.bounds(partition)
        reason = rebuild_reason(table, begin, end, removals_kept_ms)
        if reason is not None:
            on_rebuild()
            await run_in_thread(reset, table, reason, begin, end)
        if reason is not None or table.was_damaged:
            self._metrics.rebuilt(reason or "damaged")
        start = max(begin, table.positions.changelog_offset + 1)
        if table.positions.changelog_offset < 0:  # new, or rebuilt
            self._current_s.pop(partition, None)
        place = Place(self.topic, partition)
        followed = self._followed[partition] = FollowedTable(place, table, start, start, end, self._seconds())
        changelog.records.begin(partition, start)
        return followed

    async def _until_restored(self, partition: int, followed: FollowedTable) -> None:
        progress, restored = self.progress[partition], followed.restored
        if restored is None or followed.position >= progress.end:
            return
        while not restored.is_set():
            try:
                async with asyncio.timeout(STALLED_S / 4):
                    await restored.wait()
            except TimeoutError:
                if self._seconds() - followed.moved_s > STALLED_S:
                    msg = (
                        f"changelog {self.topic}/{partition}: expected to reach offset {progress.end}, got no further "
                        f"than {followed.position} for {STALLED_S:.0f} s; check that the partition has a leader"
                    )
                    raise LaneInterrupted(msg) from None
        if followed.failure is not None:
            raise followed.failure

    async def _pump(self, reader: PartitionReader) -> None:
        """Read all followed partitions, until cancelled."""
        while True:
            try:
                await self._read_once(reader)
            except Exception as exc:  # noqa: BLE001 - whoever waits for a partition gets it
                error = unreadable(self.topic, exc) if isinstance(exc, BrokerError) else exc
                for followed in list(self._followed.values()):
                    followed.fail(error)
                await asyncio.sleep(FAILED_S)

    async def _read_once(self, reader: PartitionReader) -> None:
        is_restoring = any(followed.restored is not None for followed in self._followed.values())
        with collection_paused():
            fetched = await reader.fetch(POLL_MS if is_restoring else self._follow_poll_ms(), self._batch_records)
            for partition, records in fetched.records.items():
                if (healthy := self._healthy(partition)) is not None:
                    await healthy.write(records, self._metrics)
        for partition in fetched.lost:
            if (lost := self._followed.get(partition)) is not None:
                lost.fail(LaneInterrupted(f"changelog {lost.place}: records were deleted while they were read"))
        for partition, followed in list(self._followed.items()):
            try:
                await self._note(reader, partition, followed)
            except BrokerError:
                raise
            except Exception as exc:  # noqa: BLE001 - of a table, such as a full disk: of this partition alone
                followed.fail(exc)
        if is_restoring:
            self._log.note()

    def _follow_poll_ms(self) -> int:
        return min(LONGEST_FOLLOW_POLL_MS, max(FOLLOW_POLL_MS, len(self._followed)))

    async def _note(self, reader: PartitionReader, partition: int, followed: FollowedTable) -> None:
        position, now_s = await reader.position(partition), self._seconds()
        followed.note_bulk()
        if self._healthy(partition) is not followed:
            return
        followed.note_position(position, now_s)
        is_current = self.behind(partition) == 0
        if is_current:
            self._current_s[partition] = now_s
        progress = self.progress.get(partition)
        if followed.restored is not None and progress is not None:
            progress.position = position
            if not progress.remaining:
                followed.restored.set()  # who waits for it waits for the bulk too
        elif is_current:
            followed.stamp()
