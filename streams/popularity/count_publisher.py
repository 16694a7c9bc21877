"""Counting as the listen lane's derived output: taken up where it was left, published from time to time.

On assignment: read the partition's published parts, then count the listens from the published offset to the first one
that the lane will fold. A partition of which nothing was published is counted from where the lane folds on.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from sidestream.models.data.rows import ListenRow
from sidestream.streams.contracts.decode import Limits, decode_listen
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import BadRecord
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.batch import Decode
from sidestream.streams.popularity.partition_counts import PartitionCounter
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import CountedPart, read_key, read_part
from sidestream.streams.runtime.log import get_log

_log = get_log(__name__)

_POLL_MS = 200
_MAX_RECORDS = 1_000

Parts = dict[int | None, CountedPart]


class ItemCounting:
    """`DerivedOutput` of `item-counts.v1`.

    Args:
        topic: Where counts are published; as many partitions as the listens.
        source_topic: The listens.
        clients: The Kafka.
        decode: Reads a listen, or raises `BadRecord`.
        settings: Half-life and pace.
        clock: Monotonic seconds.

    Attributes:
        by_partition: What counts the listens of each partition; filled by `open`.
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
        """Take counting up for an assignment.

        Args:
            positions: By partition, the first source offset that is not folded.

        Returns:
            By partition, where counting begins, of those of which nothing was published.
        """
        published = await self._published(positions)
        consumer = self._clients.async_consumer(auto_offset_reset="earliest")
        await consumer.start()
        try:
            ends = await consumer.end_offsets([TopicPartition(self._source, partition) for partition in positions])
            self.by_partition = {
                partition: self._taken_up(partition, position, ends[TopicPartition(self._source, partition)], found)
                for partition, position in positions.items()
                for found in (published.get(partition, {}),)
            }
            await self._catch_up(consumer, positions)
        finally:
            await consumer.stop()
        self._next_s = self._clock()
        return {p: self.by_partition[p].mark(positions[p]) for p in positions if None not in published.get(p, {})}

    def due(self) -> Iterator[tuple[int, Mapping[bytes, bytes]]]:
        """Give the counts that are to be published now, by partition."""
        if self._clock() < self._next_s:
            return
        self._next_s = self._clock() + self._settings.publish_s
        for partition, counter in self.by_partition.items():
            if counter.has_news:
                yield partition, counter.publish(self._settings.publish_parts)

    def _taken_up(self, partition: int, position: int, end: int, found: Parts) -> PartitionCounter:
        parts = {part: counted for part, counted in found.items() if part is not None}
        from_offset = found[None].offset if None in found else (0 if parts else position)
        if from_offset > end:
            # The listens are another topic than the one that was counted: what was counted stays, as a start.
            _log.warning("counts are of another source", partition=partition, counted=from_offset, end=end)
            parts = {part: CountedPart(p.half_life_ms, position, p.counts) for part, p in parts.items()}
            from_offset = position
        return PartitionCounter(partition, self._decay, min(from_offset, position), parts)

    async def _published(self, partitions: Collection[int]) -> dict[int, Parts]:
        """Read the last values of the assigned partitions."""
        found: dict[int, Parts] = {}
        values: dict[bytes, bytes] = {}
        consumer = self._clients.async_consumer(auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(self.topic, partition) for partition in partitions]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            await consumer.seek_to_beginning(*places)
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    values.update((record.key, record.value) for record in records)
        finally:
            await consumer.stop()
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

    async def _catch_up(self, consumer: AIOKafkaConsumer, positions: Mapping[int, int]) -> None:
        """Count the listens that were folded and are in no part yet."""
        behind = {p: position for p, position in positions.items() if self.by_partition[p].next_offset < position}
        if not behind:
            return
        places = {partition: TopicPartition(self._source, partition) for partition in behind}
        consumer.assign(list(places.values()))
        for partition, place in places.items():
            consumer.seek(place, self.by_partition[partition].next_offset)
        counted = 0
        while any([await consumer.position(places[p]) < position for p, position in behind.items()]):
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
            for place, records in fetched.items():
                listens = self._read(record for record in records if record.offset < behind[place.partition])
                self.by_partition[place.partition].add([listens], records[-1].offset + 1)
                counted += len(listens)
        for partition, position in behind.items():
            self.by_partition[partition].add([], position)
        _log.info("counts taken up", partitions=len(behind), listens=counted)

    def _read(self, records: Any) -> list[tuple[int, ListenRow]]:
        listens = []
        for record in records:
            try:
                listens.append((record.offset, self._decode(record.key, record.value, record.timestamp)))
            except BadRecord:
                continue
        return listens


def make_counting(
    settings: PopularitySettings, topics: Topics, clients: Clients, limits: Limits
) -> ItemCounting | None:
    """Make the counting of an installation.

    Args:
        settings: Half-life and pace.
        topics: All topics.
        clients: The Kafka.
        limits: What listens must keep.

    Returns:
        The counting; None where it is off.
    """
    if not settings.enabled:
        return None
    decode = partial(decode_listen, limits=limits)
    return ItemCounting(topics.item_counts.name, topics.listens.name, clients, decode, settings)
