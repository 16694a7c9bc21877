"""Sweep that removes the watermarks of erased users once the source no longer holds any listens they protect against.

A round scans the tables of an assignment one page at a time, between two batches of the listen lane, whose single
writer publishes the removals: first a tombstone that ends the user's request on `user-erasures.v1`, whose key would
otherwise stay there forever, then the tombstone of the state. After a crash in between, the next round repeats both:
the watermarks still exist.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from sidestream.models.errors import StateError
from sidestream.models.history import forget, may_forget
from sidestream.streams.contracts.deadletters import DeadLetter
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.listens.erasure.requests import SWEPT_HEADER
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.partition import PartitionTable

logger = logging.getLogger(__name__)

# Less than a millisecond of the event loop with full rings.
PAGE_ROWS = 200
SOURCE_TIMEOUT_S = 10.0
POLL_MS = 200
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Source:
    """Contents of a partition of the listens: first offset, Kafka timestamp of that record (or now), and end offset."""

    start: int
    start_at: int
    end: int


class Sweep:
    """Sweeps over the tables of one assignment; the first one starts at once.

    Args:
        source_topic: Topic of the listens.
        erasures_topic: Topic of the requests.
        clients: Kafka client factory.
        settings: Interval, and minimum retention of watermarks.
        now_ms: UTC epoch milliseconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        source_topic: str,
        erasures_topic: str,
        clients: Clients,
        settings: LaneSettings,
        now_ms: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._source_topic, self._erasures_topic = source_topic, erasures_topic
        self._clients, self._settings, self._now_ms, self._clock = clients, settings, now_ms, clock
        self._tables: dict[int, PartitionTable] = {}
        self._source_task: asyncio.Task[dict[int, Source]] | None = None
        self._sources: dict[int, Source] = {}
        # First key that was not examined, by partition.
        self._pages: dict[int, bytes] = {}
        self._due_s = 0.0

    def add(self, partition: int, table: PartitionTable) -> None:
        """Sweep a restored table from now on."""
        self._tables[partition], self._due_s = table, self._clock()

    def remove(self, partition: int) -> None:
        """Release a table."""
        self._tables.pop(partition, None)
        self._pages.pop(partition, None)

    async def close(self) -> None:
        """End the reading of a round."""
        source_task, self._source_task = self._source_task, None
        if source_task is not None:
            source_task.cancel()
            await asyncio.gather(source_task, return_exceptions=True)

    def has_page(self, partition: int) -> bool:
        """Return whether `step` may have something to do."""
        self._start_round()
        return partition in self._pages

    def step(self, partition: int, next_offset: int, position: int) -> list[FoldedBatch]:
        """Examine one page of a table at most.

        Args:
            partition: Partition number.
            next_offset: Its next source offset, which does not change.
            position: Offset up to which the source was read and folded.

        Returns:
            Removals, to be made durable in this order.
        """
        from_key = self._pages.get(partition)
        if from_key is None:
            return []
        source = self._sources[partition]
        if position < source.end:  # pending listens may be from before an erasure
            return []
        rows = list(itertools.islice(self._tables[partition].items(from_key), PAGE_ROWS))
        if len(rows) == PAGE_ROWS:
            self._pages[partition] = rows[-1][0] + b"\0"
        else:
            del self._pages[partition]
        gone: dict[bytes, bytes | None] = {user: forget(state) for user, state in rows if _is_removable(state, source)}
        if not gone:
            return []
        swept = [(SWEPT_HEADER, b"1")]
        ends = [DeadLetter(self._erasures_topic, user, None, swept) for user in gone]
        return [FoldedBatch(partition, {}, ends, next_offset), FoldedBatch(partition, gone, [], next_offset)]

    def _start_round(self) -> None:
        if self._source_task is None:
            if self._tables and self._clock() >= self._due_s:
                self._source_task = asyncio.create_task(
                    self._read_sources(list(self._tables)), name="sweep of erasures"
                )
            return
        if not self._source_task.done():
            return
        finished, self._source_task = self._source_task, None
        self._due_s = self._clock() + self._settings.erasure_sweep_s
        try:
            self._sources = finished.result()
        except (KafkaError, TimeoutError) as exc:
            logger.warning("%s: erasures are swept later (%r)", self._source_topic, exc)
        else:
            for partition in self._sources.keys() & self._tables.keys():
                self._pages.setdefault(partition, b"")

    async def _read_sources(self, partitions: list[int]) -> dict[int, Source]:
        """Read the current contents of the source partitions."""
        now_ms = self._now_ms()
        newest_at = now_ms - round(self._settings.erasure_keep_days * DAY_MS)
        consumer = self._clients.async_consumer(auto_offset_reset="none")
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT_S):
                await consumer.start()
                tps = {TopicPartition(self._source_topic, partition) for partition in partitions}
                consumer.assign(list(tps))
                begins, ends = await consumer.beginning_offsets(list(tps)), await consumer.end_offsets(list(tps))
                for tp in tps:
                    consumer.seek(tp, begins[tp])
                firsts: dict[TopicPartition, int] = {}
                while waiting := tps - firsts.keys():
                    # A partition with only control records counts as empty.
                    firsts |= {tp: now_ms for tp in waiting if await consumer.position(tp) >= ends[tp]}
                    if waiting := tps - firsts.keys():
                        fetched = await consumer.getmany(*waiting, timeout_ms=POLL_MS)
                        firsts |= {tp: records[0].timestamp for tp, records in fetched.items() if records}
        finally:
            await consumer.stop()
        return {tp.partition: Source(begins[tp], min(firsts[tp], newest_at), ends[tp]) for tp in tps}


def _is_removable(state: bytes, source: Source) -> bool:
    try:
        return may_forget(state, source.start, source.start_at)
    except StateError:  # the user's next listen or session reports it
        return False
