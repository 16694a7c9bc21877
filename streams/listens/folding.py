"""Fold loop of one assignment: turns fetched listens into durable user states, in timed batches.

One batch: decode, read states, fold, publish values and dead letters and wait until they are durable, then one RocksDB
WriteBatch per partition. Folded values are readable at once (overlay), before they are durable.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer

from sidestream.models.history import SidLookup
from sidestream.streams.listens.batch import Decode, ListenBatch, OnDurable
from sidestream.streams.listens.derived import DerivedOutput, publish_derived
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.erasure.requests import Requests
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.progress import ReadProgress, Work
from sidestream.streams.runtime.stall import StallGuard
from sidestream.streams.runtime.waiting import run_concurrently, run_until

# Bounds how long a revocation waits for an idle lane.
POLL_MS = 200
# How long a publish of derived output in progress delays a revocation; with a broker that answers it takes some 10 ms.
DERIVED_GRACE_S = 0.2
# Sizes of uninterrupted pieces of work: 0.2 to 1 ms each.
TAKE_RECORDS = 256
DECODE_RECORDS = 128
FOLD_USERS = 32
# Partitions that process a batch concurrently, from its first listen to its last ack. Without a limit all partitions
# would be folded first and become durable together, half a second of listens at a time; with fewer than three the lane
# would idle waiting for acks.
MAX_CONCURRENT_PARTITIONS = 3


class Folding:
    """Folds the listens of one assignment, from the first fetch to the revocation.

    Args:
        topic: Source topic.
        decode: Decodes a record, or raises `BadRecord`.
        lookup: Maps an item key to its current SID; called once per listen.
        writer: Publishes batches; open before `run`.
        settings: Batch sizes and times.
        metrics: Counters.
        pacer: Yields to session-starts.
        stall: Stops the lane if this process may have been replaced; None if the broker fences replaced processes.
        erasures: Requests to erase users, open before `run`; None if there are none.
        on_durable: Called after each durable batch.
        derived: Output derived from the same listens, open before `run`; None if there is none.

    Attributes:
        next_offsets: First source offset that is not durable, by partition; empty before `begin`.
        folded_to: First source offset that is not yet visible in the overlay or the tables, by partition.
    """

    def __init__(
        self,
        topic: str,
        decode: Decode,
        lookup: SidLookup,
        writer: ChangelogWriter,
        settings: LaneSettings,
        metrics: LaneMetrics,
        pacer: Pacer,
        stall: StallGuard | None,
        erasures: ErasureFeed | None = None,
        on_durable: OnDurable | None = None,
        derived: DerivedOutput | None = None,
    ) -> None:
        self.next_offsets: dict[int, int] = {}
        self.folded_to: dict[int, int] = {}
        self._topic, self._decode, self._lookup = topic, decode, lookup
        self._writer, self._settings, self._metrics = writer, settings, metrics
        self._pacer, self._stall, self._erasures = pacer, stall, erasures
        self._on_durable, self._derived = on_durable, derived
        self._tables: Mapping[int, PartitionTable] = {}
        self._reading = ReadProgress()
        self._overlay: dict[int, dict[bytes, bytes | None]] = {}
        self._partition_slots = asyncio.Semaphore(MAX_CONCURRENT_PARTITIONS)

    def begin(self, tables: Mapping[int, PartitionTable], positions: dict[int, int]) -> None:
        """Set the restored tables and the first source offset that is not folded, both by partition."""
        self._tables, self.next_offsets, self.folded_to = tables, positions, dict(positions)

    def end(self) -> None:
        """Discard folded values that did not become durable."""
        self._overlay = {}

    def pending(self, partition: int) -> Mapping[bytes, bytes | None]:
        """Return folded values of a partition that may not be in the table yet, by key; None for deletions."""
        return self._overlay.get(partition, {})

    def work(self, ends: Mapping[int, int]) -> Work:
        """Return the pending listens, not fetched or not durable; `ends` are recent end offsets of the topic."""
        return self._reading.work(ends, tuple(self.next_offsets.items()))

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count the listens that are not fetched, by partition; `ends` are recent end offsets of the topic."""
        return self._reading.unread(ends)

    async def run(self, source: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        """Fold until stopped; the batch in flight is finished.

        Args:
            source: Consumer that is assigned and positioned.
            stop: Ends the loop when set.

        Raises:
            LaneError: This process was paused for so long that another one may own its partitions.
        """
        if self._stall is not None:
            self._stall.ran()
        while not stop.is_set():
            limit = self._pacer.batch_records(self._settings.max_batch_records)
            fetched = await self._collect(source, limit * len(self.next_offsets))
            if self._stall is not None:
                self._stall.resume()
            await self._reading.note(source, self._topic, self.next_offsets, fetched)
            requests = await self._erasures.fetch() if self._erasures is not None else {}
            while (fetched or requests) and not stop.is_set():
                chunks = {p: records[:limit] for p, records in fetched.items()}
                partitions = dict.fromkeys((*chunks, *requests))
                await run_concurrently(
                    self._process_partition(p, chunks.get(p, ()), requests.get(p)) for p in partitions
                )
                if self._erasures is not None:
                    self._erasures.mark_applied(requests)
                fetched = {p: records[limit:] for p, records in fetched.items() if len(records) > limit}
                requests = {}
            self._reading.in_flight = 0
            if not fetched:  # positions have advanced over transaction markers, which are never delivered
                self.folded_to.update(self._reading.positions)
                self._pacer.listens_folded()
            await self._sweep()
            if self._derived is not None:
                due = self._derived.due()
                publish = publish_derived(self._derived.topic, due, self._writer, self.next_offsets, self._pacer)
                # Not part of a batch: a revocation need not wait for a broker that does not answer. The next owner ends
                # a transaction that is left open, and publishes the counts itself.
                await run_until(stop, publish, DERIVED_GRACE_S)

    async def _collect(self, source: AIOKafkaConsumer, limit: int) -> dict[int, list[Any]]:
        # aiokafka parses records when they are taken: a whole fetched backlog would block for 40 ms.
        collected: dict[int, list[Any]] = {}
        wait_ms = POLL_MS
        while limit > 0 and (taken := await source.getmany(timeout_ms=wait_ms, max_records=min(limit, TAKE_RECORDS))):
            for tp, records in taken.items():
                collected.setdefault(tp.partition, []).extend(records)
                limit -= len(records)
            wait_ms = 0
            await self._pacer.yield_if_due()
        return collected

    async def _process_partition(self, partition: int, records: Sequence[Any], requests: Requests | None) -> None:
        # CPU work is serialized over the partitions, while some of them wait for their acks concurrently.
        async with self._partition_slots:
            async with self._pacer.working:
                started = time.perf_counter()
                batch = await self._fold(partition, records, requests)
            self.folded_to[partition] = batch.next_offset
            self._pacer.listens_folded()
            if self._stall is not None:
                self._stall.resume()
            await self._make_durable(batch.result())
            self.next_offsets[partition] = batch.next_offset
            self._overlay.pop(partition, None)
        if self._on_durable is not None:
            self._on_durable(partition, batch.listens, batch.states)
        batch.count(self._metrics, time.perf_counter() - started)

    async def _sweep(self) -> None:
        if self._erasures is None:
            return
        await self._pacer.yield_if_due()
        for batch in self._erasures.sweep(self.next_offsets, self.folded_to):
            await self._make_durable(batch)
            self._metrics.forgotten(len(batch.values))

    async def _make_durable(self, result: FoldedBatch) -> None:
        offset = await self._writer.publish(result)
        table = self._tables[result.partition]
        changelog_offset = table.positions.changelog_offset if offset is None else offset
        async with self._pacer.working:
            await self._pacer.yield_if_due()
            # Not in a thread: rocksdict holds the GIL while it writes (3 us a value), so a thread would block the event
            # loop as well, for an unknown time.
            table.write(result.values, Positions(changelog_offset, result.next_offset))

    async def _fold(self, partition: int, records: Sequence[Any], requests: Requests | None) -> ListenBatch:
        table = self._tables[partition]
        batch = ListenBatch(partition, self.next_offsets[partition], self._decode, self._settings.history_events)
        for first in range(0, len(records), DECODE_RECORDS):
            await self._pacer.yield_if_due()
            batch.add(records[first : first + DECODE_RECORDS])
        if self._derived is not None:
            await self._pacer.yield_if_due()
            self._derived.by_partition[partition].add(batch.listens.values(), batch.next_offset)
        if requests is not None:
            blocks: dict[bytes, dict[int, bytes]] = {}
            for user in requests.by_user:
                await self._pacer.yield_if_due()
                blocks[user] = table.history(user)[1]
            batch.erase(requests, blocks)
        overlay = self._overlay.setdefault(partition, {})
        users = batch.users
        for first in range(0, len(users), FOLD_USERS):
            await self._pacer.yield_if_due()
            some = users[first : first + FOLD_USERS]
            overlay.update(batch.fold(some, table.get_many(some), self._lookup))
        return batch
