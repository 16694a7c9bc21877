"""Restore of local tables from their changelog, with our own consumer and explicit positions.

The rules that make it safe, each learned from lost events:

* no group and no inherited position: every partition is sought to `stored + 1` before the first fetch;
* the end is fetched once, after the committed source offset and when no transaction is open before it, and reading
  stops by position, not by record: the last offsets of a transactional changelog are control records that are never
  delivered, and compaction leaves gaps;
* a database whose stored offset does not fit the changelog (past its end, or before its start, where records were
  deleted without being read) is cleared and rebuilt: the changelog is the source of truth, the database a cache;
* so is a database that was offline for longer than `delete.retention.ms`: it would miss tombstones that compaction
  has removed in the meantime, and restore erased users.

While one bulk of a partition is written in a thread, the next one is fetched and parsed: with two cores this dominates
the wall time. One bulk in flight per partition bounds the memory and preserves the order.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sidestream.streams.errors import BrokerError, RestoreError, TopicError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.read_rules import POLL_MS, Place
from sidestream.streams.listens.restore.origin import ORIGIN_KEY
from sidestream.streams.listens.restore.progress import ProgressLog, RestoreProgress
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.garbage_collection import collection_paused
from sidestream.streams.runtime.lane_metrics import LaneMetrics

logger = logging.getLogger(__name__)

# Fencing ends the transactions of the changelog's own writers; only another program's transaction may still be open,
# for as long as its timeout allows.
STABLE_S = 60.0
STABLE_POLL_S = 0.02
# If nothing else has to be written, the time at which a table was last complete is updated only when it is older than
# this: a newer one is not worth a flush.
_STAMP_MS = 3_600_000


class Restorer:
    """Rebuilds the tables of one assignment.

    Args:
        topic: Changelog topic.
        clients: Kafka client factory.
        batch_records: Records in one bulk write.
        metrics: Counts the records that were read.
    """

    def __init__(self, topic: str, clients: Clients, batch_records: int, metrics: LaneMetrics) -> None:
        self.topic = topic
        self.progress: dict[int, RestoreProgress] = {}
        self._clients = clients
        self._batch_records = batch_records
        self._metrics = metrics

    async def restore(
        self, tables: Mapping[int, PartitionTable], is_stopped: Callable[[], bool], removals_kept_ms: int | None = None
    ) -> None:
        """Bring tables up to the current end of their changelog.

        Args:
            tables: Open databases by partition.
            is_stopped: Called between reads; once true, the restore stops early in a consistent state.
            removals_kept_ms: Minimum retention of tombstones in the changelog; None to skip the check of table ages.

        Raises:
            RestoreError: The changelog cannot be read.
        """
        self.progress = {}
        if not tables:
            return
        try:
            async with Follower(self._clients, {self.topic: tables}, start=None, restarts=False) as follower:
                await self._seek(follower, tables, is_stopped, removals_kept_ms)
                with collection_paused():
                    await self._read(follower, tables, is_stopped)
        except (BrokerError, TopicError) as exc:
            msg = (
                f"changelog {self.topic}: cannot be read ({exc}); check the broker and `sidestream topics check`, "
                "then restart the worker"
            )
            raise RestoreError(msg) from exc

    async def _read(
        self, follower: Follower, tables: Mapping[int, PartitionTable], is_stopped: Callable[[], bool]
    ) -> None:
        log = ProgressLog(self.topic, self.progress)
        bulks: dict[int, asyncio.Task[None]] = {}
        try:
            while not is_stopped() and any(progress.remaining for progress in self.progress.values()):
                for place, records in await follower.poll(POLL_MS, self._batch_records):
                    partition = place.partition
                    if (before := bulks.get(partition)) is not None:
                        await before
                    bulks[partition] = asyncio.create_task(self._apply(tables[partition], records))
                for partition, progress in self.progress.items():
                    progress.position = follower.positions[Place(self.topic, partition)]
                log.note()
        finally:
            # A thread cannot be cancelled, and its table must not be closed meanwhile.
            await asyncio.gather(*bulks.values(), return_exceptions=True)
        for bulk in bulks.values():
            bulk.result()
        # Flushes wait for the disk: concurrently they take half as long. None is left running when one fails.
        finished = [asyncio.to_thread(self._finish, *entry) for entry in tables.items()]
        for outcome in await asyncio.gather(*finished, return_exceptions=True):
            if outcome is not None:
                raise outcome
        log.end()

    async def _seek(
        self,
        follower: Follower,
        tables: Mapping[int, PartitionTable],
        is_stopped: Callable[[], bool],
        removals_kept_ms: int | None,
    ) -> None:
        ends = await self._stable_ends(follower, tables, is_stopped)
        for partition, table in tables.items():
            place = Place(self.topic, partition)
            begin, end = follower.bounds[place].begin, ends[place]
            reason = _rebuild_reason(table, begin, end, removals_kept_ms)
            if reason is not None:
                await asyncio.to_thread(_reset, table, reason, begin, end)
            if reason is not None or table.was_damaged:
                self._metrics.rebuilt(reason or "damaged")
            start = max(begin, table.positions.changelog_offset + 1)
            follower.seek({place: start})
            self.progress[partition] = RestoreProgress(partition, start, start, end)

    async def _stable_ends(
        self, follower: Follower, tables: Mapping[int, PartitionTable], is_stopped: Callable[[], bool]
    ) -> Mapping[Place, int]:
        """Fetch the ends once all transactions before them have ended: last stable offset = high watermark."""
        if self._clients.is_embedded:  # no transaction isolation
            return {place: end for place, (_, end) in follower.bounds.items()}
        until_s = time.monotonic() + STABLE_S
        async with Follower(self._clients, {self.topic: tables}, start=None, read_committed=False) as log:
            highs = {place: end for place, (_, end) in log.bounds.items()}
            while True:
                ends = await follower.ends()
                still_open = [place for place, high in highs.items() if ends[place] < high]
                if not still_open or is_stopped():
                    return ends
                if time.monotonic() > until_s:
                    place = still_open[0]
                    msg = (
                        f"changelog {place}: expected no open transaction, got one since offset {ends[place]} for "
                        f"{STABLE_S:.0f} s; only workers may write there: find it with `kafka-transactions.sh "
                        "find-hanging`, abort it, then restart the worker"
                    )
                    raise RestoreError(msg)
                await asyncio.sleep(STABLE_POLL_S)
                highs = await log.ends()

    async def _apply(self, table: PartitionTable, records: Sequence[Any]) -> None:
        last = records[-1].offset
        if records[0].offset <= table.positions.changelog_offset:
            # Cannot happen with our own consumer and an explicit seek; if it did, the stored offset would be wrong.
            msg = (
                f"changelog {self.topic}: expected records after offset {table.positions.changelog_offset}, got "
                f"{records[0].offset}; restart the worker"
            )
            raise RestoreError(msg)
        values = {record.key: record.value for record in records}
        positions = replace(table.positions, changelog_offset=last)
        if ORIGIN_KEY in values:  # the states start over, and so does the source
            positions = Positions(last)
        await asyncio.to_thread(table.load, values, positions)
        self._metrics.restored(len(records))

    def _finish(self, partition: int, table: PartitionTable) -> None:
        progress = self.progress[partition]
        # Control records and compacted offsets before the position were skipped: they hold no data.
        last = max(progress.position - 1, table.positions.changelog_offset)
        is_complete, age_ms = not progress.remaining, table.age_ms()
        is_stamp_due = is_complete and last >= 0 and (age_ms is None or age_ms >= _STAMP_MS)
        if last > table.positions.changelog_offset or is_stamp_due:
            table.load({}, replace(table.positions, changelog_offset=last), is_complete=is_complete)
        table.flush()


def _rebuild_reason(table: PartitionTable, begin: int, end: int, removals_kept_ms: int | None) -> str | None:
    """Return the reason (one word) why a database cannot continue from its offset; None if it can."""
    next_offset, age_ms = table.positions.changelog_offset + 1, table.age_ms()
    if next_offset == 0:
        return None
    if next_offset > end:
        return "ahead"
    if next_offset < begin:
        return "behind"
    # Without new records there were no tombstones either.
    is_old = removals_kept_ms is not None and age_ms is not None and age_ms >= removals_kept_ms
    return "old" if is_old and next_offset < end else None


def _reset(table: PartitionTable, reason: str, begin: int, end: int) -> None:
    age_ms = table.age_ms()
    logger.warning(
        "user-state table %s holds changelog offset %d, last complete %s, the changelog has %d to %d (%s): "
        "rebuilding it from the changelog",
        table.path,
        table.positions.changelog_offset,
        "at an unknown time" if age_ms is None else f"{age_ms / 3_600_000:.1f} h ago",
        begin,
        end,
        reason,
    )
    table.clear()
    table.write({}, Positions())
