"""A table that follows its changelog: what was read of it and what is written, one bulk at a time.

While one bulk is written in a thread, the next one is fetched and parsed: with two cores this dominates the wall time.
One bulk in flight bounds the memory and preserves the order.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sidestream.streams.contracts.unreadable import require_intact
from sidestream.streams.errors import RestoreError
from sidestream.streams.kafka.read_rules import Place
from sidestream.streams.listens.restore.origin import ORIGIN_KEY
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.waiting import run_in_thread

# If nothing else has to be written, the time at which a table was last complete is updated only when it is older than
# this: a newer one is not worth a flush.
STAMP_MS = 3_600_000


@dataclass(slots=True, eq=False)
class FollowedTable:
    """One partition that is read.

    Attributes:
        place: Changelog and partition.
        table: Its table.
        position: Next offset to read.
        written: The table holds everything before this offset.
        end: End of the changelog when it was begun; that of the reader's last response may be from earlier.
        moved_s: When the position last changed, monotonic.
        restored: Set when the restore's end is reached; None while nobody waits for it.
        failure: Why it is no longer followed.
        is_ending: Whether it is being released: nothing is written any more.
        stopped: Set when it is no longer followed.
    """

    place: Place
    table: PartitionTable
    position: int
    written: int
    end: int
    moved_s: float
    restored: asyncio.Event | None = None
    failure: BaseException | None = None
    is_ending: bool = False
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    # The bulk that is being written, or has just been; None if all that was read is written.
    _bulk: "asyncio.Task[None] | None" = None

    @property
    def is_healthy(self) -> bool:
        """Whether it is followed, and neither failed nor being released."""
        return not self.is_ending and self.failure is None

    def fail(self, error: BaseException) -> None:
        """Give it up; the first error counts."""
        if self.failure is None:
            self.failure = error
            if self.restored is not None:
                self.restored.set()
            self.stopped.set()

    def note_bulk(self) -> None:
        """Look at a bulk that is done: whether what it held is written."""
        if self._bulk is None or not self._bulk.done():
            return
        if (error := self._bulk.exception()) is not None:
            self.fail(error)
        else:
            self._bulk = None

    def note_position(self, position: int, now_s: float) -> None:
        """Note how far the changelog was read.

        Args:
            position: Next offset to read.
            now_s: Monotonic seconds.
        """
        if position != self.position:
            self.position, self.moved_s = position, now_s
        if self._bulk is None:
            self.written = position

    async def write(self, records: Sequence[Any], metrics: LaneMetrics) -> None:
        """Begin to write records, once those before them are written; does nothing after a failure."""
        if self._bulk is not None:
            await asyncio.wait({self._bulk})
            self.note_bulk()
        if self.is_healthy:
            self._bulk = asyncio.create_task(self._apply(records, metrics))

    async def end_bulk(self) -> None:
        """Wait for the bulk in flight: a thread cannot be cancelled, and its table must not be closed meanwhile."""
        if (bulk := self._bulk) is not None:
            await asyncio.wait({bulk})
            if self.failure is None and not bulk.cancelled():
                self.failure = bulk.exception()

    def finish(self, position: int) -> None:
        """Note that the table holds everything before a position, and flush it; blocking.

        Args:
            position: Control records and compacted offsets before it were skipped: they hold no data.
        """
        table, last = self.table, max(position - 1, self.table.positions.changelog_offset)
        if last > table.positions.changelog_offset or (last >= 0 and is_stamp_due(table)):
            table.load({}, replace(table.positions, changelog_offset=last), is_complete=True)
        table.flush()

    def stamp(self) -> None:
        """Note that the table is complete, if that was noted long ago."""
        if is_stamp_due(self.table):
            self.table.load({}, self.table.positions, is_complete=True)

    async def _apply(self, records: Sequence[Any], metrics: LaneMetrics) -> None:
        table, last = self.table, records[-1].offset
        if records[0].offset <= table.positions.changelog_offset:
            # Cannot happen with our own consumer and an explicit seek; if it did, the stored offset would be wrong.
            msg = (
                f"changelog {self.place.topic}: expected records after offset {table.positions.changelog_offset}, got "
                f"{records[0].offset}; restart the worker"
            )
            raise RestoreError(msg)
        # Skipped, an unreadable record would lose a state, or bring an erased user back.
        require_intact(self.place.topic, records[0].partition, records)
        values = {record.key: record.value for record in records}
        positions = replace(table.positions, changelog_offset=last)
        if ORIGIN_KEY in values:  # the states start over, and so does the source
            positions = Positions(last)
        await run_in_thread(table.load, values, positions)
        metrics.restored(len(records))


def is_stamp_due(table: PartitionTable) -> bool:
    """Return whether a complete table should note that it is."""
    age_ms = table.age_ms()
    return age_ms is None or age_ms >= STAMP_MS
