"""Fold loop of one partition: turns its listens and erasures into durable user states, in timed batches.

One batch: decode, read states, erase, fold, publish values and dead letters and wait until they are durable, then one
RocksDB WriteBatch. Folded values are readable at once (overlay), before they are durable.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sidestream.models.history import SidLookup
from sidestream.streams.contracts.placement import Placement
from sidestream.streams.errors import LaneInterrupted
from sidestream.streams.listens.batch import Decode, ListenBatch, OnDurable
from sidestream.streams.listens.derived import PartitionOutput
from sidestream.streams.listens.durable.writer import ChangelogWriter, DerivedRecord, FoldedBatch
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.erasure.requests import Requests
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.stall import StallGuard
from sidestream.streams.runtime.waiting import run_until

# How long a publish of derived output in progress delays a revocation; with a broker that answers it takes some 10 ms.
DERIVED_GRACE_S = 0.2
# How long a revocation waits for the publish of what is derived and not published yet.
LAST_DERIVED_S = 1.0
# Sizes of uninterrupted pieces of work: 0.2 to 1 ms each.
DECODE_RECORDS = 128
FOLD_USERS = 32
FOLD_LISTENS = 128
# A partition whose broker is slower than this no longer counts as busy: the others go on (`Slots`).
SLOW_ACK_S = 0.1


class Slots:
    """Limits how many partitions process a batch concurrently, from its first listen to its last ack.

    Without a limit all partitions would be folded first and become durable together, half a second of listens at a
    time; with fewer than three the lane would idle waiting for acks.
    """

    def __init__(self, count: int = 3) -> None:
        self._free = asyncio.Semaphore(count)

    async def take(self) -> Callable[[], None]:
        """Wait for a slot; returns the function that gives it back, which may be called more than once."""
        await self._free.acquire()
        is_held = True

        def give_back() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._free.release()

        return give_back


@dataclass(frozen=True)
class FoldParts:
    """What all partitions of a lane share.

    Attributes:
        topic: Source topic.
        decode: Decodes a record, or raises `BadRecord`.
        lookup: Maps an item key to its current SID; called once per listen.
        writer: Publishes batches.
        settings: Batch sizes and times.
        metrics: Counters.
        pacer: Yields to session-starts.
        slots: Limits the partitions that work concurrently.
        stall: Stops the lane if this process may have been replaced; None if the broker fences replaced processes.
        erasures: Requests to erase users; None if there are none.
        on_durable: Called after each durable batch.
        placement: Recognises listens of other partitions; None takes all.
    """

    topic: str
    decode: Decode
    lookup: SidLookup
    writer: ChangelogWriter
    settings: LaneSettings
    metrics: LaneMetrics
    pacer: Pacer
    slots: Slots
    stall: StallGuard | None
    erasures: ErasureFeed | None
    on_durable: OnDurable | None
    placement: Placement | None = None


class Folding:
    """Folds one partition, from the restore of its table until it is stopped or interrupted.

    Args:
        parts: What the partitions share.
        partition: Partition number.
        table: Restored table.
        position: First source offset that is not folded.
        output: Output derived from the listens; None if there is none.

    Attributes:
        next_offset: First source offset that is not durable.
        folded_to: First source offset that is not yet visible in the overlay or the table.
        overlay: Folded values that may not be in the table yet, by key; None for deletions.
    """

    def __init__(
        self, parts: FoldParts, partition: int, table: PartitionTable, position: int, output: PartitionOutput | None
    ) -> None:
        self.next_offset = self.folded_to = position
        self.overlay: dict[bytes, bytes | None] = {}
        self._parts, self._partition, self._table, self._output = parts, partition, table, output
        self._waiting: list[Any] = []
        self._requests: list[Requests] = []
        self._num_working = 0
        self._derived: Sequence[DerivedRecord] = ()
        self._wake = asyncio.Event()

    @property
    def num_waiting(self) -> int:
        """Number of fetched listens whose batch has not begun."""
        return len(self._waiting)

    @property
    def num_in_flight(self) -> int:
        """Number of fetched listens that are not durable."""
        return len(self._waiting) + self._num_working

    @property
    def has_requests(self) -> bool:
        """Whether requests wait for the next batch."""
        return bool(self._requests)

    def offer(self, records: Sequence[Any]) -> None:
        """Add fetched listens, in offset order."""
        self._waiting.extend(records)
        self._wake.set()

    def offer_requests(self, requests: Requests) -> None:
        """Add fetched erasure requests, in offset order."""
        self._requests.append(requests)
        self._wake.set()

    def tick(self, position: int) -> None:
        """Look for work that comes with time; called several times a second.

        Args:
            position: Next offset that will be fetched; beyond the records offered, there are transaction markers.
        """
        if not self.num_in_flight and position > self.folded_to:
            self.folded_to = position
            self._parts.pacer.listens_folded()
        if self._output is not None and not self._derived:
            self._derived = self._output.due()
        erasures = self._parts.erasures
        if self._derived or (erasures is not None and erasures.has_page(self._partition)):
            self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until stopped; the batch in flight is finished.

        Args:
            stop: Ends the loop when set.

        Raises:
            LaneInterrupted: A batch is not known to be durable.
            LaneError: This process was paused for so long that another one may own its partitions.
        """
        is_settled = True
        if self._output is not None:  # what must be durable before the first listen is
            await self._publish_derived(self._derived or self._output.due())
        while not stop.is_set():
            await run_until(stop, self._wake.wait())
            self._wake.clear()
            while (self._waiting or self._requests) and not stop.is_set():
                await self._process()
                if self._derived:
                    break
            if stop.is_set():
                break
            await self._sweep()
            if self._derived:
                # Not part of a batch: a revocation need not wait for a broker that does not answer. The next owner ends
                # a transaction that is left open, and publishes the records itself.
                is_settled = await run_until(stop, self._publish_derived(self._derived), DERIVED_GRACE_S)
            if self._waiting or self._requests:
                self._wake.set()
        if self._output is not None and is_settled:
            await self._publish_last(self._output)

    async def _publish_last(self, output: PartitionOutput) -> None:
        try:
            async with asyncio.timeout(LAST_DERIVED_S):
                # What was due and not begun is in flight to the output, which has nothing else until it is durable.
                await self._publish_derived(self._derived)
                await self._publish_derived(output.everything())
        except (TimeoutError, LaneInterrupted):
            return  # the next owner derives them again

    async def _publish_derived(self, records: Sequence[DerivedRecord]) -> None:
        if records and self._output is not None:
            await self._parts.pacer.yield_if_due()
            await self._make_durable(FoldedBatch(self._partition, {}, (), self.next_offset, derived=records))
            self._output.published()
        self._derived = ()

    async def _process(self) -> None:
        parts = self._parts
        give_back = await parts.slots.take()
        timer: asyncio.TimerHandle | None = None
        try:
            limit = parts.pacer.batch_records(parts.settings.max_batch_records)
            records, self._waiting = self._waiting[:limit], self._waiting[limit:]
            requests = self._requests.pop(0) if self._requests else None
            self._num_working = len(records)
            # CPU work is serialized over the partitions, while some of them wait for their acks concurrently.
            async with parts.pacer.working:
                started = time.perf_counter()
                batch = await self._fold(records, requests)
            self.folded_to = batch.next_offset
            parts.pacer.listens_folded()
            if parts.stall is not None:
                parts.stall.resume()
            timer = asyncio.get_running_loop().call_later(SLOW_ACK_S, give_back)
            await self._make_durable(batch.result())
        finally:
            if timer is not None:
                timer.cancel()
            give_back()
        self.next_offset = batch.next_offset
        self.overlay = {}
        self._num_working = 0
        if requests is not None and parts.erasures is not None:
            parts.erasures.mark_applied(self._partition, requests)
        if self._output is not None:
            await parts.pacer.yield_if_due()
            self._output.add(batch.listens.values(), batch.next_offset)
        if parts.on_durable is not None:
            parts.on_durable(self._partition, batch.listens, batch.states)
        batch.count(parts.metrics, time.perf_counter() - started)

    async def _sweep(self) -> None:
        erasures = self._parts.erasures
        if erasures is None:
            return
        await self._parts.pacer.yield_if_due()
        for removal in erasures.sweep(self._partition, self.next_offset, self.folded_to):
            await self._make_durable(removal.batch)
            removal.count(self._parts.metrics)

    async def _make_durable(self, result: FoldedBatch) -> None:
        offset = await self._parts.writer.publish(result)
        table, pacer = self._table, self._parts.pacer
        changelog_offset = table.positions.changelog_offset if offset is None else offset
        async with pacer.working:
            await pacer.yield_if_due()
            # Not in a thread: rocksdict holds the GIL while it writes (3 us a value), so a thread would block the event
            # loop as well, for an unknown time.
            table.write(result.values, Positions(changelog_offset, result.next_offset))

    async def _fold(self, records: Sequence[Any], requests: Requests | None) -> ListenBatch:
        table, parts = self._table, self._parts
        history_events = parts.settings.history_events
        batch = ListenBatch(self._partition, self.next_offset, parts.decode, history_events, parts.placement)
        for first in range(0, len(records), DECODE_RECORDS):
            await parts.pacer.yield_if_due()
            batch.add(records[first : first + DECODE_RECORDS])
        batch.refuse_misplaced()
        if requests is not None:
            blocks: dict[bytes, dict[int, bytes]] = {}
            for user in requests.by_user:
                await parts.pacer.yield_if_due()
                blocks[user] = table.history(user)[1]
            batch.erase(requests, blocks)
        for pieces in batch.pieces(FOLD_USERS, FOLD_LISTENS):
            await parts.pacer.yield_if_due()
            self.overlay.update(batch.fold(pieces, table.get_many([piece.user for piece in pieces]), parts.lookup))
        return batch
