"""Item counts as derived output of the listen lane: resumed at a mark, published as changes.

A partition becomes ready without waiting for its counts: only its mark is read before. What was folded but not
published by the previous owner, up to `publish_s` of listens after a crash, is counted again in the background.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from sidestream.models.data.rows import ListenRow
from sidestream.streams.contracts.decode import Limits, decode_listen
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord, SidestreamError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.pace import Pace
from sidestream.streams.kafka.read_rules import keep_last
from sidestream.streams.kafka.reading import fetch_bounds, read_to_end
from sidestream.streams.listens.batch import Decode
from sidestream.streams.listens.durable.writer import DerivedRecord
from sidestream.streams.popularity.ahead import AheadGuard
from sidestream.streams.popularity.partition_changes import CountTopics, Listens, PartitionChanges, Published
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import CountedPart, read_key, read_part
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.waiting import run_until

_log = get_log(__name__)

# aiokafka parses records when they are taken: 256 take 0.5 ms, and decoding 128 of them as long.
_TAKE_RECORDS = 256
_DECODE_RECORDS = 128
# Counting again takes at most half a core, and only what session-starts and the fold leave of it.
_CATCH_UP_PACE = Pace(_TAKE_RECORDS, rest=1.0)
_RETRY_S = 5.0
# Spreads the partitions evenly over the publishing interval.
_GOLDEN_RATIO = 0.618034


class ItemCounting:
    """`DerivedOutput` of `item-counts.v1` and `item-count-changes.v1`.

    Args:
        count_topics: Output topics.
        source_topic: Topic of the listens.
        clients: Kafka client factory.
        decode: Decodes a listen, or raises `BadRecord`.
        settings: Half-life and publishing interval.
        pacer: Yields to session-starts.
        clock: Monotonic seconds.
        guard: Leaves out listens that are dated ahead.
    """

    def __init__(
        self,
        count_topics: CountTopics,
        source_topic: str,
        clients: Clients,
        decode: Decode,
        settings: PopularitySettings,
        pacer: Pacer | None = None,
        clock: Callable[[], float] = time.monotonic,
        guard: AheadGuard | None = None,
    ) -> None:
        self.topics: Mapping[str, int] = {
            count_topics.marks: count_topics.num_partitions,
            count_topics.changes: count_topics.num_ranges,
        }
        self._count_topics = count_topics
        self._source, self._clients, self._decode = source_topic, clients, decode
        self._settings, self._clock, self._guard = settings, clock, guard
        self._pacer = pacer or Pacer()
        # One partition at a time: together they would take the event loop from the listens.
        self._catching_up = asyncio.Lock()
        self._published_by: dict[int, Published] = {}
        self._open: WeakValueDictionary[int, PartitionCounting] = WeakValueDictionary()

    def num_unpublished(self) -> int:
        """Return the number of listens that are counted and not published, over all partitions."""
        return sum(counting.changes.num_unpublished for counting in list(self._open.values()))

    def behind(self) -> int:
        """Return the number of source offsets that are still to be counted again, over all partitions."""
        return sum(counting.changes.behind for counting in list(self._open.values()))

    async def prepare(self, partition: int) -> None:
        """Read the mark of a partition, after older owners are fenced.

        Args:
            partition: Partition of the listens.

        Raises:
            TopicError: An output topic does not exist.
            BrokerError: Kafka cannot be read.
        """
        self._published_by[partition] = await self._published(partition)

    async def resume(self, partition: int, position: int) -> "PartitionCounting":
        """Begin to count a partition that is prepared.

        Args:
            partition: Partition of the listens.
            position: First source offset that is not folded.

        Returns:
            The counting of the partition; it publishes nothing before it has caught up.

        Raises:
            BrokerError: Kafka cannot be read.
        """
        published = self._published_by.pop(partition)
        if published.mark is not None and published.mark > position:
            published = await self._of_this_source(partition, position, published)
        decay, guard = self._settings.decay, self._guard
        changes = PartitionChanges(partition, decay, self._count_topics, published, position, guard)
        # Without a mark at once: a crash before the first one would lose count of the listens until then.
        wait_s = self._settings.publish_s * (partition * _GOLDEN_RATIO % 1) if published.mark is not None else 0.0
        counting = PartitionCounting(partition, self, changes, wait_s)
        self._open[partition] = counting
        return counting

    async def _published(self, partition: int) -> Published:
        values: dict[bytes, bytes] = {}
        async for batch in read_to_end(self._clients, self._count_topics.marks, [partition]):
            keep_last(batch.records, values)
        mark: int | None = None
        parts: dict[int, CountedPart] = {}
        for key, value in values.items():
            try:
                of_partition, part = read_key(key)
                counted = read_part(value)
            except BadRecord as exc:
                _log.warning("counts skipped", key=repr(key), detail=exc.detail)
                continue
            if of_partition != partition or counted.half_life_ms != self._settings.decay.half_life_ms:
                continue
            if part is None:
                mark = counted.offset
            else:
                parts[part] = counted
        return Published(mark, parts)

    async def _of_this_source(self, partition: int, position: int, published: Published) -> Published:
        """Return what was published, counted from the position on if it is of a source that no longer exists."""
        end = (await fetch_bounds(self._clients, self._source, [partition]))[partition].end
        if published.mark is None or published.mark <= end:
            return published
        _log.warning("counts belong to another source", partition=partition, counted=published.mark, end=end)
        parts = {part: CountedPart(p.half_life_ms, position, p.counts) for part, p in published.parts.items()}
        return Published(position, parts)

    async def recount(self, partition: int, changes: PartitionChanges, stop: asyncio.Event) -> None:
        """Count the listens from the mark to the position, in slices that yield to everything else.

        Args:
            partition: Partition of the listens.
            changes: Its counts.
            stop: Ends it early when set.
        """
        began = changes.next_offset
        while not changes.is_caught_up and not stop.is_set():
            try:
                async with self._catching_up:
                    await run_until(stop, self._recount(partition, changes))
            except SidestreamError as exc:
                # Nothing depends on it yet: what is not counted stays before the mark.
                _log.warning("listens cannot be counted again yet", partition=partition, detail=str(exc))
                await run_until(stop, asyncio.sleep(_RETRY_S))
        if changes.is_caught_up and changes.next_offset > began:
            _log.info("counts resumed", partition=partition, mark=began)

    async def _recount(self, partition: int, changes: PartitionChanges) -> None:
        start, end = changes.next_offset, changes.next_offset + changes.behind
        batches = read_to_end(
            self._clients,
            self._source,
            [partition],
            start={partition: start},
            ends={partition: end},
            max_records=_CATCH_UP_PACE.max_records,
            pace=_CATCH_UP_PACE,
        )
        async with contextlib.aclosing(batches):
            async for batch in batches:
                for first in range(0, len(batch.records), _DECODE_RECORDS):
                    async with self._pacer.working:
                        await self._pacer.yield_if_due()
                        records = batch.records[first : first + _DECODE_RECORDS]
                        changes.recount(self._read(records), records[-1].offset + 1)
        # The last offsets may be transaction markers, which are never delivered.
        if not changes.is_caught_up:
            changes.recount([], end)

    def _read(self, records: Sequence[Any]) -> Listens:
        listens = []
        for record in records:
            try:
                listens.append((record.offset, self._decode(record.key, record.value, record.timestamp)))
            except BadRecord:
                continue
        return listens

    def next_s(self, wait_s: float | None = None) -> float:
        """Return when to publish next, in seconds of `clock`: after `wait_s`, by default the interval."""
        return self._clock() + (self._settings.publish_s if wait_s is None else wait_s)

    def is_past(self, at_s: float) -> bool:
        """Return whether a time of `clock` has come."""
        return self._clock() >= at_s


class PartitionCounting:
    """`PartitionOutput` of one partition.

    Args:
        partition: Partition of the listens.
        counting: Counting of all partitions.
        changes: Counts of this one.
        wait_s: When to publish for the first time, in seconds.
    """

    def __init__(self, partition: int, counting: ItemCounting, changes: PartitionChanges, wait_s: float) -> None:
        self.changes = changes
        self._partition, self._counting = partition, counting
        self._next_s = counting.next_s(wait_s)

    def add(self, by_user: Collection[Sequence[tuple[int, ListenRow]]], next_offset: int) -> None:
        """Count the listens of one durable batch."""
        self.changes.add(by_user, next_offset)

    async def catch_up(self, stop: asyncio.Event) -> None:
        """Count what was folded and not published before."""
        await self._counting.recount(self._partition, self.changes, stop)

    def due(self) -> Sequence[DerivedRecord]:
        """Return the changes to publish now."""
        if not self._counting.is_past(self._next_s) or not (records := self.changes.take()):
            return ()
        self._next_s = self._counting.next_s()
        return records

    def everything(self) -> Sequence[DerivedRecord]:
        """Return all unpublished changes."""
        return self.changes.take()

    def published(self) -> None:
        """Note that the records returned last are durable."""
        self.changes.published()


def count_topics(topics: Topics) -> CountTopics:
    """Return where an installation publishes its counts."""
    marks, changes = topics.item_counts, topics.item_count_changes
    return CountTopics(marks.name, marks.partitions, changes.name, changes.partitions)


def make_item_counting(
    settings: PopularitySettings, topics: Topics, clients: Clients, limits: Limits, pacer: Pacer, metrics: Metrics
) -> ItemCounting | None:
    """Create the item counting of an installation.

    Args:
        settings: Half-life and publishing interval.
        topics: Topics of the installation.
        clients: Kafka client factory.
        limits: Limits of listens.
        pacer: Yields to session-starts.
        metrics: Receives the numbers of unpublished listens and of those to count again.

    Returns:
        The counting; None if it is disabled.
    """
    if not settings.enabled:
        return None
    decode = partial(decode_listen, limits=limits)
    guard = AheadGuard(limits.max_future_ms, metrics.popularity_ahead.inc, limits.wall_ms)
    counting = ItemCounting(count_topics(topics), topics.listens.name, clients, decode, settings, pacer, guard=guard)
    metrics.popularity_unpublished.set_function(counting.num_unpublished)
    metrics.popularity_behind.set_function(counting.behind)
    return counting
