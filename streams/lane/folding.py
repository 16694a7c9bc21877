"""Folds the listens of one assignment: fetched records in, durable user states out, in timed batches.

One batch: decode, read states, fold, publish values and dead letters and wait until they are durable, then one RocksDB
WriteBatch for each partition. Folded values can be read at once (overlay), before they are durable.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer

from models.history import SidLookup
from streams.errors import LaneError
from streams.lane.batch import Decode, ListenBatch
from streams.lane.metrics import LaneMetrics
from streams.lane.settings import LaneSettings
from streams.lane.table import PartitionTable, Positions
from streams.lane.together import together
from streams.lane.writer import ChangelogWriter
from streams.progress import Reading, Work

# Bounds how long a revoke waits for an idle lane to notice.
POLL_MS = 200


class Folding:
    """The listens of one assignment, from its first fetch to its revoke.

    Args:
        topic: Source topic.
        decode: Reads a record, or raises `BadRecord`.
        lookup: Item key to the SID that is current now; called once for each listen.
        writer: How batches are published; open before `run`.
        settings: How to batch.
        metrics: Counters.
        silence_s: After so long without progress this process may have been replaced; none where the broker refuses
            what a replaced one writes.
        clock: Monotonic seconds.

    Attributes:
        next_offsets: By partition, the first source offset that is not durable; empty before `begin`.
    """

    def __init__(
        self,
        topic: str,
        decode: Decode,
        lookup: SidLookup,
        writer: ChangelogWriter,
        settings: LaneSettings,
        metrics: LaneMetrics,
        silence_s: float | None,
        clock: Callable[[], float],
    ) -> None:
        self.next_offsets: dict[int, int] = {}
        self._topic, self._decode, self._lookup = topic, decode, lookup
        self._writer, self._settings, self._metrics = writer, settings, metrics
        self._limit_s, self._clock = silence_s, clock
        self._tables: Mapping[int, PartitionTable] = {}
        self._reading = Reading()
        self._overlay: dict[int, dict[bytes, bytes]] = {}
        self._alive_at = 0.0

    def begin(self, tables: Mapping[int, PartitionTable], positions: dict[int, int]) -> None:
        """Take restored tables.

        Args:
            tables: By partition.
            positions: By partition, the first source offset that is not folded.
        """
        self._tables, self.next_offsets = tables, positions

    def end(self) -> None:
        """Forget what was folded and did not become durable."""
        self._overlay = {}

    def read(self, partition: int, key: bytes) -> bytes | None:
        """Read a folded value that may not be in the table yet.

        Args:
            partition: The user's partition.
            key: User id in UTF-8.

        Returns:
            The value; none where the table has the newest.
        """
        return self._overlay.get(partition, {}).get(key)

    def work(self, ends: Mapping[int, int]) -> Work:
        """Tell what waits: listens not fetched or not durable.

        Args:
            ends: Of the topic by partition, as Kafka told them lately.

        Returns:
            How much, and how far it is.
        """
        return self._reading.work(ends, tuple(self.next_offsets.items()))

    async def run(self, source: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        """Fold until stopped; the batch in flight is finished.

        Args:
            source: Consumer at the positions.
            stop: Ends it.

        Raises:
            LaneError: This process made no progress for so long that another one may have its partitions.
        """
        limit = self._settings.max_batch_records
        self._alive_at = self._clock()
        while not stop.is_set():
            fetched = {tp.partition: records for tp, records in (await source.getmany(timeout_ms=POLL_MS)).items()}
            self._beat()
            await self._reading.note(source, self._topic, self.next_offsets, fetched)
            while fetched and not stop.is_set():
                await self._fold_together({p: records[:limit] for p, records in fetched.items()})
                fetched = {p: records[limit:] for p, records in fetched.items() if len(records) > limit}
            self._reading.in_flight = 0

    async def _fold_together(self, chunks: Mapping[int, Sequence[Any]]) -> None:
        # All partitions go through each step together, so that their acks are awaited at the same time.
        started = time.perf_counter()
        batches = [await self._fold(partition, records) for partition, records in chunks.items()]
        self._beat()
        results = [batch.result() for batch in batches]
        offsets = await together(self._writer.publish(result) for result in results)

        def write() -> None:
            for result, offset in zip(results, offsets, strict=True):
                table = self._tables[result.partition]
                changelog_offset = table.positions.changelog_offset if offset is None else offset
                table.write(result.values, Positions(changelog_offset, result.next_offset))

        await asyncio.to_thread(write)
        seconds = time.perf_counter() - started
        for batch in batches:
            self.next_offsets[batch.partition] = batch.next_offset
            self._overlay.pop(batch.partition, None)
            batch.count(self._metrics, seconds)

    async def _fold(self, partition: int, records: Sequence[Any]) -> ListenBatch:
        table = self._tables[partition]
        batch = ListenBatch(partition, self.next_offsets[partition], self._decode, self._settings.history_events)
        step = self._settings.slice_records
        for first in range(0, len(records), step):
            batch.add(records[first : first + step])
            await asyncio.sleep(0)
        overlay = self._overlay.setdefault(partition, {})
        users = batch.users
        for first in range(0, len(users), step):
            some = users[first : first + step]
            overlay.update(batch.fold(some, table.get_many(some), self._lookup))
            await asyncio.sleep(0)
        return batch

    def _beat(self) -> None:
        now_s = self._clock()
        silent_s, self._alive_at = now_s - self._alive_at, now_s
        if self._limit_s is not None and silent_s > self._limit_s:
            msg = (
                f"{self._topic}: this process made no progress for {silent_s:.1f} s, more than {self._limit_s:.1f} s: "
                "the group may have given its partitions away; it must restart"
            )
            raise LaneError(msg)
