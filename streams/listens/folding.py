"""Folds the listens of one assignment: fetched records in, durable user states out, in timed batches.

One batch: decode, read states, fold, publish values and dead letters and wait until they are durable, then one RocksDB
WriteBatch for each partition. Folded values can be read at once (overlay), before they are durable.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer

from sidestream.models.history import SidLookup
from sidestream.streams.listens.batch import Decode, Folded, ListenBatch
from sidestream.streams.listens.derived import DerivedOutput, publish_derived
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.listens.erasure.feed import ErasureFeed
from sidestream.streams.listens.erasure.requests import Requests
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.progress import Reading, Work
from sidestream.streams.runtime.stall import StallGuard
from sidestream.streams.runtime.waiting import together

# Bounds how long a revoke waits for an idle lane to notice.
POLL_MS = 200
# Pieces of work that are not interrupted: 0.2 to 1 ms each.
TAKE_RECORDS = 256
DECODE_RECORDS = 128
FOLD_USERS = 32
# Partitions between their first listen of a batch and its last ack. All at once would fold all of them first and make
# them durable together, half a second of listens at a time; with fewer than three, acks would be waited for.
AT_ONCE = 3


class Folding:
    """The listens of one assignment, from its first fetch to its revoke.

    Args:
        topic: Source topic.
        decode: Reads a record, or raises `BadRecord`.
        lookup: Item key to the SID that is current now; called once for each listen.
        writer: How batches are published; open before `run`.
        settings: How to batch.
        metrics: Counters.
        pacer: Lets session-starts go first.
        stall: Ends the lane where this process may have been replaced; none where the broker refuses such a one.
        erasures: Requests to erase users, open before `run`; none without.
        folded: Told of every batch once it is durable.
        derived: What is made of the same listens, open before `run`; none without.

    Attributes:
        next_offsets: By partition, the first source offset that is not durable; empty before `begin`.
        folded_to: By partition, the first source offset that `read` and the tables do not show.
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
        folded: Folded | None = None,
        derived: DerivedOutput | None = None,
    ) -> None:
        self.next_offsets: dict[int, int] = {}
        self.folded_to: dict[int, int] = {}
        self._topic, self._decode, self._lookup = topic, decode, lookup
        self._writer, self._settings, self._metrics = writer, settings, metrics
        self._pacer, self._stall, self._erasures = pacer, stall, erasures
        self._folded, self._derived = folded, derived
        self._tables: Mapping[int, PartitionTable] = {}
        self._reading = Reading()
        self._overlay: dict[int, dict[bytes, bytes | None]] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def begin(self, tables: Mapping[int, PartitionTable], positions: dict[int, int]) -> None:
        """Take restored tables.

        Args:
            tables: By partition.
            positions: By partition, the first source offset that is not folded.
        """
        self._tables, self.next_offsets, self.folded_to = tables, positions, dict(positions)

    def end(self) -> None:
        """Forget what was folded and did not become durable."""
        self._overlay = {}

    def pending(self, partition: int) -> Mapping[bytes, bytes | None]:
        """Give the folded values that may not be in the table yet.

        Args:
            partition: Of the users.

        Returns:
            Values by key, none for what is deleted; of all other keys the table has the newest.
        """
        return self._overlay.get(partition, {})

    def work(self, ends: Mapping[int, int]) -> Work:
        """Tell what waits: listens not fetched or not durable.

        Args:
            ends: Of the topic by partition, as Kafka told them lately.

        Returns:
            How much, and how far it is.
        """
        return self._reading.work(ends, tuple(self.next_offsets.items()))

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count, by partition, the listens that are not fetched; `ends` of the topic as Kafka told them lately."""
        return self._reading.unread(ends)

    async def run(self, source: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        """Fold until stopped; the batch in flight is finished.

        Args:
            source: Consumer at the positions.
            stop: Ends it.

        Raises:
            LaneError: This process made no progress for so long that another one may have its partitions.
        """
        if self._stall is not None:
            self._stall.ran()
        while not stop.is_set():
            limit = self._pacer.batch_records(self._settings.max_batch_records)
            fetched = await self._collect(source, limit * len(self.next_offsets))
            if self._stall is not None:
                self._stall.resume()
            await self._reading.note(source, self._topic, self.next_offsets, fetched)
            requests = await self._erasures.take() if self._erasures is not None else {}
            while (fetched or requests) and not stop.is_set():
                chunks = {p: records[:limit] for p, records in fetched.items()}
                partitions = dict.fromkeys((*chunks, *requests))
                await together(self._fold_one(p, chunks.get(p, ()), requests.get(p)) for p in partitions)
                if self._erasures is not None:
                    self._erasures.done(requests)
                fetched = {p: records[limit:] for p, records in fetched.items() if len(records) > limit}
                requests = {}
            self._reading.in_flight = 0
            if not fetched:  # markers of transactions, which are never delivered, are passed now
                self.folded_to.update(self._reading.positions)
                self._pacer.listens_folded()
            await self._sweep()
            if self._derived is not None:
                due = self._derived.due()
                await publish_derived(self._derived.topic, due, self._writer, self.next_offsets, self._pacer)

    async def _collect(self, source: AIOKafkaConsumer, room: int) -> dict[int, list[Any]]:
        # aiokafka parses records when they are taken: all that a backlog piles up would be 40 ms at a time.
        collected: dict[int, list[Any]] = {}
        wait_ms = POLL_MS
        while room > 0 and (taken := await source.getmany(timeout_ms=wait_ms, max_records=min(room, TAKE_RECORDS))):
            for tp, records in taken.items():
                collected.setdefault(tp.partition, []).extend(records)
                room -= len(records)
            wait_ms = 0
            await self._pacer.turn()
        return collected

    async def _fold_one(self, partition: int, records: Sequence[Any], requests: Requests | None) -> None:
        # The partitions take turns with what costs time here, and some wait for their acks at the same time.
        async with self._at_once:
            async with self._pacer.working:
                started = time.perf_counter()
                batch = await self._fold(partition, records, requests)
            self.folded_to[partition] = batch.next_offset
            self._pacer.listens_folded()
            if self._stall is not None:
                self._stall.resume()
            await self._keep(batch.result())
            self.next_offsets[partition] = batch.next_offset
            self._overlay.pop(partition, None)
        if self._folded is not None:
            self._folded(partition, batch.listens, batch.states)
        batch.count(self._metrics, time.perf_counter() - started)

    async def _sweep(self) -> None:
        if self._erasures is None:
            return
        await self._pacer.turn()
        for batch in self._erasures.sweep(self.next_offsets, self.folded_to):
            await self._keep(batch)
            self._metrics.forgotten(len(batch.values))

    async def _keep(self, result: FoldedBatch) -> None:
        offset = await self._writer.publish(result)
        table = self._tables[result.partition]
        changelog_offset = table.positions.changelog_offset if offset is None else offset
        async with self._pacer.working:
            await self._pacer.turn()
            # Not in a thread: rocksdict keeps the interpreter to itself while it writes (3 us a value), so that a
            # thread stops the event loop as well, and nobody would know for how long.
            table.write(result.values, Positions(changelog_offset, result.next_offset))

    async def _fold(self, partition: int, records: Sequence[Any], requests: Requests | None) -> ListenBatch:
        table = self._tables[partition]
        batch = ListenBatch(partition, self.next_offsets[partition], self._decode, self._settings.history_events)
        for first in range(0, len(records), DECODE_RECORDS):
            await self._pacer.turn()
            batch.add(records[first : first + DECODE_RECORDS])
        if self._derived is not None:
            await self._pacer.turn()
            self._derived.by_partition[partition].add(batch.listens.values(), batch.next_offset)
        if requests is not None:
            blocks: dict[bytes, dict[int, bytes]] = {}
            for user in requests.by_user:
                await self._pacer.turn()
                blocks[user] = table.history(user)[1]
            batch.erase(requests, blocks)
        overlay = self._overlay.setdefault(partition, {})
        users = batch.users
        for first in range(0, len(users), FOLD_USERS):
            await self._pacer.turn()
            some = users[first : first + FOLD_USERS]
            overlay.update(batch.fold(some, table.get_many(some), self._lookup))
        return batch
