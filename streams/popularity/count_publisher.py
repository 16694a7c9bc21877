"""Item counts as derived output of the listen lane: resumed on assignment, published periodically.

On assignment: read the partition's published parts, then count the listens from the published offset to the first one
that the lane will fold. A partition without published counts is counted from the lane's position on.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from sidestream.models.data.rows import ListenRow
from sidestream.streams.contracts.decode import Limits, decode_listen
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.compacted import keep_last
from sidestream.streams.kafka.reading import fetch_bounds, read_to_end
from sidestream.streams.listens.batch import Decode
from sidestream.streams.popularity.partition_counts import PartitionCounter
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import CountedPart, read_key, read_part
from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)

_MAX_RECORDS = 1_000

Parts = dict[int | None, CountedPart]


class ItemCounting:
    """`DerivedOutput` of `item-counts.v1`.

    Args:
        topic: Output topic, with as many partitions as the listens.
        source_topic: Topic of the listens.
        clients: Kafka client factory.
        decode: Decodes a listen, or raises `BadRecord`.
        settings: Half-life and publishing interval.
        clock: Monotonic seconds.

    Attributes:
        by_partition: Counter of each partition; filled by `open`.
    """

    def __init__(
        self,
        topic: str,
        source_topic: str,
        clients: Clients,
        decode: Decode,
        settings: PopularitySettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic = topic
        self._source, self._clients, self._decode = source_topic, clients, decode
        self._settings, self._clock = settings, clock
        self._decay = settings.decay
        self.by_partition: dict[int, PartitionCounter] = {}
        self._next_s = 0.0

    async def open(self, positions: Mapping[int, int]) -> Mapping[int, Mapping[bytes, bytes]]:
        """Resume counting for an assignment.

        Args:
            positions: First source offset that is not folded, by partition.

        Returns:
            Records with the start offset of counting, for partitions without published counts.
        """
        published = await self._published(positions)
        bounds = await fetch_bounds(self._clients, self._source, positions)
        self.by_partition = {
            partition: self._resumed_counter(partition, position, bounds[partition].end, published.get(partition, {}))
            for partition, position in positions.items()
        }
        await self._catch_up(positions)
        self._next_s = self._clock()
        return {p: self.by_partition[p].mark(positions[p]) for p in positions if None not in published.get(p, {})}

    def due(self) -> Iterator[tuple[int, Mapping[bytes, bytes]]]:
        """Yield the counts to publish now, by partition."""
        if self._clock() < self._next_s:
            return
        self._next_s = self._clock() + self._settings.publish_s
        for partition, counter in self.by_partition.items():
            if counter.has_changes:
                yield partition, counter.publish(self._settings.publish_parts)

    def _resumed_counter(self, partition: int, position: int, end: int, found: Parts) -> PartitionCounter:
        parts = {part: counted for part, counted in found.items() if part is not None}
        from_offset = found[None].offset if None in found else (0 if parts else position)
        if from_offset > end:
            # The source was recreated since it was counted: the counts are kept as a starting point.
            _log.warning("counts belong to another source", partition=partition, counted=from_offset, end=end)
            parts = {part: CountedPart(p.half_life_ms, position, p.counts) for part, p in parts.items()}
            from_offset = position
        return PartitionCounter(partition, self._decay, min(from_offset, position), parts)

    async def _published(self, partitions: Collection[int]) -> dict[int, Parts]:
        """Read the last values of the assigned partitions."""
        found: dict[int, Parts] = {}
        values: dict[bytes, bytes] = {}
        async for batch in read_to_end(self._clients, self.topic, partitions):
            keep_last(batch.records, values)
        for key, value in values.items():
            try:
                partition, part = read_key(key)
                counted = read_part(value)
            except BadRecord as exc:
                _log.warning("counts skipped", key=repr(key), detail=exc.detail)
                continue
            if counted.half_life_ms == self._decay.half_life_ms:
                found.setdefault(partition, {})[part] = counted
        return found

    async def _catch_up(self, positions: Mapping[int, int]) -> None:
        """Count the listens that were folded but are not in a published part yet."""
        behind = {p: position for p, position in positions.items() if self.by_partition[p].next_offset < position}
        start = {partition: self.by_partition[partition].next_offset for partition in behind}
        counted = 0
        async for batch in read_to_end(
            self._clients, self._source, behind, start=start, ends=behind, max_records=_MAX_RECORDS
        ):
            listens = self._read(batch.records)
            self.by_partition[batch.place.partition].add([listens], batch.records[-1].offset + 1)
            counted += len(listens)
        for partition, position in behind.items():
            self.by_partition[partition].add([], position)
        if behind:
            _log.info("counts resumed", partitions=len(behind), listens=counted)

    def _read(self, records: Any) -> list[tuple[int, ListenRow]]:
        listens = []
        for record in records:
            try:
                listens.append((record.offset, self._decode(record.key, record.value, record.timestamp)))
            except BadRecord:
                continue
        return listens


def make_item_counting(
    settings: PopularitySettings, topics: Topics, clients: Clients, limits: Limits
) -> ItemCounting | None:
    """Create the item counting of an installation; None if it is disabled. `limits` apply to listens."""
    if not settings.enabled:
        return None
    decode = partial(decode_listen, limits=limits)
    return ItemCounting(topics.item_counts.name, topics.listens.name, clients, decode, settings)
