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

While one bulk of a partition is written in a thread, the next one is fetched and parsed: with two cores this dominates
the wall time. One bulk in flight per partition bounds the memory and preserves the order.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sidestream.streams.contracts.unreadable import require_intact
from sidestream.streams.errors import BrokerError, LaneInterrupted, RestoreError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.kafka.read_rules import POLL_MS, Place
from sidestream.streams.listens.restore.origin import ORIGIN_KEY
from sidestream.streams.listens.restore.progress import ProgressLog, RestoreProgress
from sidestream.streams.listens.restore.rebuild import rebuild_reason, reset
from sidestream.streams.listens.table.meta import Positions, TableIdentity
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.garbage_collection import collection_paused
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.waiting import run_in_thread

logger = logging.getLogger(__name__)

# Fencing ends the transactions of the changelog's own writers; only another program's transaction may still be open.
# Shorter than the watchdog's limit, so that the message names what must be done.
STABLE_S = 20.0
STABLE_POLL_S = 0.02
# Without progress for this long, the partition is opened again: its leader may have moved, or be gone.
STALLED_S = 20.0
# Pause after a request that Kafka refused.
FAILED_S = 0.5
# Of partitions that are only followed. A promotion waits for the end of a poll, so it is short; looking at the position
# of a partition takes some 10 µs, so it is longer for many.
FOLLOW_POLL_MS, LONGEST_FOLLOW_POLL_MS = 50, 500
# If nothing else has to be written, the time at which a table was last complete is updated only when it is older than
# this: a newer one is not worth a flush.
STAMP_MS = 3_600_000


@dataclass(slots=True, eq=False)
class _Followed:
    """One partition that is read.

    Attributes:
        table: Its table.
        bulk: The bulk that is being written, or has just been; None if all that was read is written.
        restored: Set when the restore's end is reached; None while nobody waits for it.
        position: Next offset to read.
        written: The table holds everything before this offset.
        end: End of the changelog when it was begun; that of the reader's last response may be from earlier.
        moved_s: When the position last changed, monotonic.
        failure: Why it is no longer followed.
        is_ending: Whether it is being released: nothing is written any more.
        stopped: Set when it is no longer followed.
    """

    table: PartitionTable
    position: int
    written: int
    end: int
    moved_s: float
    bulk: "asyncio.Task[None] | None" = None
    restored: asyncio.Event | None = None
    failure: BaseException | None = None
    is_ending: bool = False
    stopped: asyncio.Event = field(default_factory=asyncio.Event)


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
        self._reader: PartitionReader | None = None
        self._uncommitted: PartitionReader | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._followed: dict[int, _Followed] = {}
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
                end = await self._stable_end(partition)
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
            await run_in_thread(self._finish, partition, table)
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
        if self._reader is not None:
            self._reader.pause(partition)
        # A thread cannot be cancelled, and its table must not be closed meanwhile.
        if (bulk := followed.bulk) is not None:
            await asyncio.wait({bulk})
            if followed.failure is None and not bulk.cancelled():
                followed.failure = bulk.exception()
        followed.stopped.set()
        if self._followed.get(partition) is followed:
            del self._followed[partition]

    def follows(self, partition: int) -> bool:
        """Return whether a table is being kept current or restored."""
        return self._healthy(partition) is not None

    def behind(self, partition: int) -> int | None:
        """Return how many offsets of its changelog a followed table does not hold; None if that is not known."""
        followed = self._healthy(partition)
        end = None if followed is None or self._reader is None else self._reader.end_seen(partition)
        return None if followed is None or end is None else max(0, max(end, followed.end) - followed.written)

    def lag_ms(self, partition: int) -> int | None:
        """Return how long ago a table was last seen complete, in ms; None if what it holds never was."""
        if (current_s := self._current_s.get(partition)) is None:
            return None
        return 0 if self.behind(partition) == 0 else round(1e3 * (self._seconds() - current_s))

    def _healthy(self, partition: int) -> _Followed | None:
        """Return what is followed of a partition; None if that has failed, or is being released."""
        followed = self._followed.get(partition)
        return None if followed is None or followed.is_ending or followed.failure is not None else followed

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
        reader = PartitionReader(self._clients, self.topic, self._partitions)
        uncommitted = PartitionReader(self._clients, self.topic, self._partitions, read_committed=False)
        try:
            await reader.open()
            if not self._clients.is_embedded:  # no transaction isolation
                await uncommitted.open()
                self._uncommitted = uncommitted
        except BrokerError as exc:
            await reader.close()
            raise self._unreadable(exc) from exc
        self._reader = reader
        self._pumping = asyncio.create_task(self._pump(reader), name=f"reader of {self.topic}")

    async def _disconnect(self) -> None:
        pumping, self._pumping = self._pumping, None
        readers, self._reader, self._uncommitted = (self._reader, self._uncommitted), None, None
        if pumping is not None:
            pumping.cancel()
            await asyncio.wait({pumping})
        for reader in readers:
            if reader is not None:
                await reader.close()

    async def _follow(
        self,
        partition: int,
        table: PartitionTable,
        removals_kept_ms: int | None,
        on_rebuild: Callable[[], None] = lambda: None,
    ) -> _Followed:
        """Start to read a partition after what its table holds; a table that does not fit is rebuilt."""
        await self.release(partition)  # one that has failed may still be writing
        reader = self._opened()
        try:
            begin, end = await reader.bounds(partition)
        except BrokerError as exc:
            raise self._unreadable(exc) from exc
        reason = rebuild_reason(table, begin, end, removals_kept_ms)
        if reason is not None:
            on_rebuild()
            await run_in_thread(reset, table, reason, begin, end)
        if reason is not None or table.was_damaged:
            self._metrics.rebuilt(reason or "damaged")
        start = max(begin, table.positions.changelog_offset + 1)
        if table.positions.changelog_offset < 0:  # new, or rebuilt
            self._current_s.pop(partition, None)
        followed = self._followed[partition] = _Followed(table, start, start, end, self._seconds())
        reader.begin(partition, start)
        return followed

    async def _until_restored(self, partition: int, followed: _Followed) -> None:
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
                error = self._unreadable(exc) if isinstance(exc, BrokerError) else exc
                for partition in list(self._followed):
                    self._fail(partition, error)
                await asyncio.sleep(FAILED_S)

    async def _read_once(self, reader: PartitionReader) -> None:
        is_restoring = any(followed.restored is not None for followed in self._followed.values())
        with collection_paused():
            fetched = await reader.fetch(POLL_MS if is_restoring else self._follow_poll_ms(), self._batch_records)
            for partition, records in fetched.records.items():
                await self._take(partition, records)
        for partition in fetched.lost:
            msg = f"changelog {self.topic}/{partition}: records were deleted while they were read"
            self._fail(partition, LaneInterrupted(msg))
        for partition, followed in list(self._followed.items()):
            try:
                await self._note(reader, partition, followed)
            except BrokerError:
                raise
            except Exception as exc:  # noqa: BLE001 - of a table, such as a full disk: of this partition alone
                self._fail(partition, exc)
        if is_restoring:
            self._log.note()

    def _follow_poll_ms(self) -> int:
        return min(LONGEST_FOLLOW_POLL_MS, max(FOLLOW_POLL_MS, len(self._followed)))

    async def _take(self, partition: int, records: Sequence[Any]) -> None:
        if (followed := self._healthy(partition)) is None:
            return
        if followed.bulk is not None:
            await asyncio.wait({followed.bulk})
            self._note_bulk(partition, followed)
        if self._healthy(partition) is followed:
            followed.bulk = asyncio.create_task(self._apply(followed.table, records))

    async def _note(self, reader: PartitionReader, partition: int, followed: _Followed) -> None:
        position, now_s = await reader.position(partition), self._seconds()
        self._note_bulk(partition, followed)
        if self._healthy(partition) is not followed:
            return
        if position != followed.position:
            followed.position, followed.moved_s = position, now_s
        if followed.bulk is None:
            followed.written = position
        is_current = self.behind(partition) == 0
        if is_current:
            self._current_s[partition] = now_s
        progress = self.progress.get(partition)
        if followed.restored is not None and progress is not None:
            progress.position = position
            if not progress.remaining:
                followed.restored.set()  # who waits for it waits for the bulk too
        elif is_current:
            self._stamp(followed.table)

    def _note_bulk(self, partition: int, followed: _Followed) -> None:
        """Look at a bulk that is done: whether what it held is written."""
        if followed.bulk is None or not followed.bulk.done():
            return
        if (error := followed.bulk.exception()) is not None:
            self._fail(partition, error)
        else:
            followed.bulk = None

    def _fail(self, partition: int, error: BaseException) -> None:
        followed = self._followed.get(partition)
        if followed is not None and followed.failure is None:
            followed.failure = error
            if followed.restored is not None:
                followed.restored.set()
            followed.stopped.set()

    async def _stable_end(self, partition: int) -> int:
        """Fetch the end once all transactions before it have ended: last stable offset = high watermark."""
        reader, place = self._opened(), Place(self.topic, partition)
        try:
            if self._uncommitted is None:
                return (await reader.bounds(partition)).end
            until_s = self._seconds() + STABLE_S
            high = (await self._uncommitted.bounds(partition)).end
            while True:
                end = (await reader.bounds(partition)).end
                if end >= high:
                    return end
                if self._seconds() > until_s:
                    msg = (
                        f"changelog {place}: expected no open transaction, got one since offset {end} for "
                        f"{STABLE_S:.0f} s; its end is not written while the partition has no leader; if it stays, "
                        "another program writes there: find it with `kafka-transactions.sh find-hanging` and abort it"
                    )
                    raise LaneInterrupted(msg)
                await asyncio.sleep(STABLE_POLL_S)
                high = (await self._uncommitted.bounds(partition)).end
        except BrokerError as exc:
            raise self._unreadable(exc) from exc

    async def _apply(self, table: PartitionTable, records: Sequence[Any]) -> None:
        last = records[-1].offset
        if records[0].offset <= table.positions.changelog_offset:
            # Cannot happen with our own consumer and an explicit seek; if it did, the stored offset would be wrong.
            msg = (
                f"changelog {self.topic}: expected records after offset {table.positions.changelog_offset}, got "
                f"{records[0].offset}; restart the worker"
            )
            raise RestoreError(msg)
        # Skipped, an unreadable record would lose a state, or bring an erased user back.
        require_intact(self.topic, records[0].partition, records)
        values = {record.key: record.value for record in records}
        positions = replace(table.positions, changelog_offset=last)
        if ORIGIN_KEY in values:  # the states start over, and so does the source
            positions = Positions(last)
        await run_in_thread(table.load, values, positions)
        self._metrics.restored(len(records))

    def _finish(self, partition: int, table: PartitionTable) -> None:
        progress = self.progress[partition]
        # Control records and compacted offsets before the position were skipped: they hold no data.
        last = max(progress.position - 1, table.positions.changelog_offset)
        age_ms = table.age_ms()
        is_stamp_due = last >= 0 and (age_ms is None or age_ms >= STAMP_MS)
        if last > table.positions.changelog_offset or is_stamp_due:
            table.load({}, replace(table.positions, changelog_offset=last), is_complete=True)
        table.flush()

    def _stamp(self, table: PartitionTable) -> None:
        age_ms = table.age_ms()
        if age_ms is None or age_ms >= STAMP_MS:
            table.load({}, table.positions, is_complete=True)

    def _opened(self) -> PartitionReader:
        if self._reader is None:
            msg = f"changelog {self.topic}: its reader was closed; the partition is opened again"
            raise LaneInterrupted(msg)
        return self._reader

    def _unreadable(self, exc: BaseException) -> LaneInterrupted:
        return LaneInterrupted(f"changelog {self.topic}: cannot be read now ({exc}); check the broker")
