"""Sweep that removes what is no longer needed of users: watermarks of erasures, and users who stopped listening.

A round scans a table one page at a time, between two batches of its partition, whose single writer publishes the
removals. Watermarks of an erasure go once the source no longer holds any listens they protect against: first a
tombstone that ends the user's request on `user-erasures.v1`, whose key would otherwise stay there forever, then the
tombstone of the state. After a crash in between, the next round repeats both: the watermarks still exist.

With `state_ttl_days`, users go whose last listen is older by its own time and by its Kafka timestamp, see `is_idle`. A
worker whose clock is wrong must not remove everybody: nothing expires unless the source holds a younger listen of some
user. Where a replay folds a removed user's listens again, a later round removes them again.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.erasure.removal import Removal, Source, removals
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.partition import PartitionTable

logger = logging.getLogger(__name__)

# Less than a millisecond of the event loop with full rings.
PAGE_ROWS = 200
SOURCE_TIMEOUT_S = 10.0
POLL_MS = 200
DAY_MS = 86_400_000


@dataclass(slots=True)
class _Round:
    """A partition's table, and how far its round is: source and next key while one is in progress."""

    table: PartitionTable
    due_s: float
    source: Source | None = None
    from_key: bytes = b""


class Sweep:
    """Sweeps over tables, each added once it is restored; the first round of a table starts at once.

    Args:
        source_topic: Topic of the listens.
        erasures_topic: Topic of the requests.
        clients: Kafka client factory.
        settings: Interval, minimum retention of watermarks, and after how long idle users are removed.
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
        self._rounds: dict[int, _Round] = {}
        self._source_task: asyncio.Task[dict[int, Source]] | None = None
        # Latest Kafka timestamp seen of a listen in any partition.
        self._log_at = 0

    def add(self, partition: int, table: PartitionTable) -> None:
        """Begin to sweep a restored table."""
        self._rounds[partition] = _Round(table, self._clock())

    def remove(self, partition: int) -> None:
        """Release a table; does nothing if it was not added."""
        self._rounds.pop(partition, None)

    async def close(self) -> None:
        """Release all tables."""
        self._rounds.clear()
        source_task, self._source_task = self._source_task, None
        if source_task is not None:
            source_task.cancel()
            await asyncio.gather(source_task, return_exceptions=True)

    def has_page(self, partition: int) -> bool:
        """Return whether a partition has pages to examine."""
        return (round_ := self._rounds.get(partition)) is not None and round_.source is not None

    def step(self, partition: int, next_offset: int, position: int) -> list[Removal]:
        """Examine one page of a table at most.

        Args:
            partition: Its partition; does nothing if it was not added.
            next_offset: Next source offset, which does not change.
            position: Offset up to which the source was read and folded.

        Returns:
            Removals, to be made durable in this order before the partition's next batch.
        """
        round_ = self._rounds.get(partition)
        if round_ is None or round_.source is None:
            return []
        source, table = round_.source, round_.table
        if position < source.end:  # pending listens may be from before an erasure, or of an idle user
            return []
        rows = list(itertools.islice(table.items(round_.from_key), PAGE_ROWS))
        if len(rows) == PAGE_ROWS:
            round_.from_key = rows[-1][0] + b"\0"
        else:
            round_.source, round_.from_key = None, b""
        return removals(partition, rows, source, table, next_offset, self._erasures_topic)

    def start_rounds(self) -> None:
        """Start the rounds that are due; called now and then."""
        if self._source_task is None:
            now_s = self._clock()
            if due := [p for p, round_ in self._rounds.items() if round_.source is None and now_s >= round_.due_s]:
                self._source_task = asyncio.create_task(self._read_sources(due), name="sweep of users")
                for partition in due:
                    self._rounds[partition].due_s = now_s + self._settings.erasure_sweep_s
            return
        if not self._source_task.done():
            return
        finished, self._source_task = self._source_task, None
        try:
            sources = finished.result()
        except (KafkaError, TimeoutError) as exc:
            logger.warning("%s: erasures are swept later (%r)", self._source_topic, exc)
            return
        for partition, source in sources.items():
            # One that was removed and added again meanwhile may begin with it: the source was read before.
            if (round_ := self._rounds.get(partition)) is not None:
                round_.source = source

    async def _read_sources(self, partitions: Collection[int]) -> dict[int, Source]:
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
                        # aiokafka parses records when they are taken: all that a fetch brings would block for 0.4 s.
                        fetched = await consumer.getmany(*waiting, timeout_ms=POLL_MS, max_records=1)
                        firsts |= {tp: records[0].timestamp for tp, records in fetched.items() if records}
                idle_before, idle_offsets = await self._idle_since(consumer, ends, now_ms)
        finally:
            await consumer.stop()
        return {
            tp.partition: Source(begins[tp], min(firsts[tp], newest_at), ends[tp], idle_before, idle_offsets[tp])
            for tp in tps
        }

    async def _idle_since(
        self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int], now_ms: int
    ) -> tuple[int | None, dict[TopicPartition, int]]:
        """Return since when users must have been idle to expire, as a time and as offsets; None if nobody does."""
        days = self._settings.state_ttl_days
        if days is None or self._clients.is_embedded:  # which cannot look up offsets by time
            return None, ends
        idle_before = now_ms - round(days * DAY_MS)
        found = await consumer.offsets_for_times(dict.fromkeys(ends, max(0, idle_before)))
        younger = {tp: listen for tp, listen in found.items() if listen is not None}
        self._log_at = max((self._log_at, *(listen.timestamp for listen in younger.values())))
        offsets = {tp: younger[tp].offset if tp in younger else end for tp, end in ends.items()}
        return idle_before if self._log_at >= idle_before else None, offsets
