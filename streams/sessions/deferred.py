"""Reads the session-starts that waited for a worker, beside those that are published meanwhile.

After an outage a minute of them waits, thousands that would all be answered before the listener who asks now. They are
taken only as the engine has room for them, those of a partition in order, and the committed offset stays before them.
What becomes too old meanwhile is skipped.

Ranges of records that are older than what is answered come last, and in large steps: all that can be answered in them
are records without a timestamp.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.sessions.feed import Feed
from sidestream.streams.sessions.prefix import OffsetPrefix

_log = get_log(__name__)

# Records that are judged in one iteration of the event loop while none of them is answered: 7 us each.
TAKE_STALE = 512


class DeferredReader:
    """Reader of the deferred ranges of all partitions; `prefixes` hold the ranges.

    Args:
        clients: Kafka client factory.
        topic: `session-starts.v1`.
        prefixes: What is finished and what is deferred of each partition; its keys may change at any time.
        poll_ms: Timeout of one poll.
        metrics: Counts what is lost.
    """

    def __init__(
        self, clients: Clients, topic: TopicSpec, prefixes: dict[int, OffsetPrefix], poll_ms: int, metrics: Metrics
    ) -> None:
        self._clients, self._topic, self._prefixes = clients, topic, prefixes
        self._poll_ms, self._metrics = poll_ms, metrics
        self._added = asyncio.Event()
        # End of the ranges that are probably too old.
        self._old_ends: dict[int, int] = {}

    def add(self, partition: int, first: int, end: int, *, is_old: bool = False) -> None:
        """Defer the session-starts of a range of offsets; the ranges of a partition are read from the last one.

        Args:
            partition: Partition number.
            first: First offset.
            end: End of the range.
            is_old: Whether all records with a timestamp in it are too old.
        """
        if is_old:
            self._old_ends[partition] = end
        self._prefixes[partition].defer(first, end)
        self._added.set()

    async def run(self, feed: Feed) -> None:
        """Read until cancelled; connected while anything is deferred.

        Args:
            feed: Where the session-starts go.

        Raises:
            BrokerError: Kafka does not answer.
        """
        while True:
            if any(prefix.deferred for prefix in self._prefixes.values()):
                await self._read_all(feed)
            self._added.clear()
            await self._added.wait()

    async def _read_all(self, feed: Feed) -> None:
        reader = PartitionReader(self._clients, self._topic.name, range(self._topic.partitions))
        # Whose deferred range is read, and its end: a partition that went and came back has another prefix.
        reads: dict[int, tuple[OffsetPrefix, int]] = {}
        num_answered = 0
        try:
            await reader.open()
            while deferred := {p: some for p, prefix in self._prefixes.items() if (some := prefix.deferred)}:
                for partition in reads.keys() - deferred.keys():
                    reader.pause(partition)
                    del reads[partition]
                for partition, offsets in deferred.items():
                    # A range that was added meanwhile comes first.
                    if reads.get(partition) != (read := (self._prefixes[partition], offsets.stop)):
                        reader.begin(partition, offsets.start)
                        reads[partition] = read
                spare = await feed.spare()
                open_now = [partition for partition in deferred if not feed.is_blocked(partition)]
                if not open_now:
                    await asyncio.sleep(self._poll_ms / 1e3)
                    continue
                if not num_answered and all(deferred[p].stop <= self._old_ends.get(p, 0) for p in open_now):
                    spare = max(spare, TAKE_STALE)
                    await asyncio.sleep(0)  # a fetch of records that are there already does not yield
                fetched = await reader.fetch(self._poll_ms, spare, open_now)
                for partition in fetched.lost:
                    await self._leave_deleted(reader, partition)
                    reads.pop(partition, None)
                if not fetched.lost:
                    prefixes = {partition: reads[partition][0] for partition in open_now}
                    num_answered = await self._begin(reader, feed, fetched.records, prefixes)
        finally:
            await reader.close()

    async def _begin(
        self, reader: PartitionReader, feed: Feed, records: Mapping[int, list[Any]], read: Mapping[int, OffsetPrefix]
    ) -> int:
        prefixes = {p: prefix for p, prefix in read.items() if self._prefixes.get(p) is prefix}
        deferred = {p: some for p, prefix in prefixes.items() if (some := prefix.deferred) is not None}
        inside = {p: [one for one in records.get(p, ()) if one.offset in offsets] for p, offsets in deferred.items()}
        begun = {partition: some for partition, some in inside.items() if some}
        num_answered = await feed.begin(reader, begun) if begun else 0
        for partition, offsets in deferred.items():
            position, prefix = await reader.position(partition), prefixes[partition]
            left = prefix.deferred
            if self._prefixes.get(partition) is not prefix or left is None or left.stop != offsets.stop:
                continue
            if not inside[partition] or inside[partition][-1].offset not in left:  # all were taken
                prefix.pass_deferred(position)  # transaction markers; records beyond the range
        return num_answered

    async def _leave_deleted(self, reader: PartitionReader, partition: int) -> None:
        """Pass what retention deleted; a topic that is shorter now is dealt with by the reader of current ones."""
        begin = (await reader.bounds(partition)).begin
        prefix = self._prefixes.get(partition)
        offsets = None if prefix is None else prefix.deferred
        if prefix is None or offsets is None or begin <= offsets.start:
            await asyncio.sleep(self._poll_ms / 1e3)
            return
        lost = min(begin, offsets.stop) - offsets.start
        _log.warning("session-starts were deleted before they were read", partition=partition, lost=lost, begin=begin)
        self._metrics.sessions_skipped.labels("deleted").inc(lost)
        prefix.pass_deferred(begin)
