"""Consumer of some partitions of one topic, each of which is positioned, started and paused by itself.

All partitions share one connection per broker, but nothing waits for all of them: offsets are asked for one partition
at a time, so a partition without a leader delays nobody else. `follower` is for readers that need all partitions.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_errors import read_error, require_alive
from sidestream.streams.kafka.read_rules import Bounds, Place


class Fetched(NamedTuple):
    """Result of one fetch.

    Attributes:
        records: Records by partition, in offset order.
        lost: Partitions whose position is outside the log; they are paused until `begin` is called again.
    """

    records: Mapping[int, list[Any]]
    lost: Collection[int]


class PartitionReader:
    """Reads partitions without a consumer group; all are paused until `begin`.

    Args:
        clients: Kafka client factory.
        topic: Topic.
        partitions: Partition numbers.
        **options: Further options of `Clients.async_consumer`.
    """

    def __init__(self, clients: Clients, topic: str, partitions: Collection[int], **options: Any) -> None:
        self.topic = topic
        self._clients, self._options = clients, options
        self._places = {partition: TopicPartition(topic, partition) for partition in sorted(partitions)}
        self._consumer: AIOKafkaConsumer | None = None
        self._begun: set[int] = set()

    async def open(self) -> None:
        """Connect; nothing is read yet. The topic must exist.

        Raises:
            BrokerError: Kafka does not answer.
        """
        consumer = self._clients.async_consumer(auto_offset_reset="none", **self._options)
        is_open = False
        try:
            await consumer.start()
            places = list(self._places.values())
            consumer.assign(places)
            for place in places:
                consumer.seek(place, 0)  # any position: without one, the client would ask for a committed offset
            consumer.pause(*places)
            is_open = True
        except KafkaError as exc:
            raise read_error(self._clients.bootstrap, {}, exc) from exc
        finally:
            if not is_open:
                await consumer.stop()
        self._consumer = consumer

    async def close(self) -> None:
        """Close the connections."""
        consumer, self._consumer = self._consumer, None
        self._begun.clear()
        if consumer is not None:
            await consumer.stop()

    async def bounds(self, partition: int) -> Bounds:
        """Ask the partition's leader for its first and end offset.

        Args:
            partition: Partition number.

        Returns:
            The offsets; the end is the last stable offset unless the reader shows uncommitted records.

        Raises:
            BrokerError: The leader does not answer.
        """
        consumer, place = self._opened(), self._places[partition]
        try:
            begins, ends = await asyncio.gather(consumer.beginning_offsets([place]), consumer.end_offsets([place]))
        except KafkaError as exc:
            raise read_error(self._clients.bootstrap, {Place(*place): 0}, exc) from exc
        return Bounds(begins[place], ends[place])

    async def offset_since(self, partition: int, since_ms: int) -> int | None:
        """Ask the partition's leader where records of a time begin.

        Timestamps need not be in order: all records before that offset are older; records after it may be older too.

        Args:
            partition: Partition number.
            since_ms: Kafka timestamp, UTC epoch ms.

        Returns:
            Offset of the first record with this timestamp or a later one; None if there is none. 0 on the embedded
            broker, which cannot look up offsets by time.

        Raises:
            BrokerError: The leader does not answer.
        """
        consumer, place = self._opened(), self._places[partition]
        if self._clients.is_embedded:
            return 0
        try:
            found = (await consumer.offsets_for_times({place: max(0, since_ms)}))[place]
        except KafkaError as exc:
            raise read_error(self._clients.bootstrap, {Place(*place): 0}, exc) from exc
        return None if found is None else int(found.offset)

    async def ends_of(self, topic: str, partitions: Collection[int]) -> Mapping[int, int]:
        """Ask for the ends of partitions of another topic.

        Args:
            topic: Topic.
            partitions: Partition numbers.

        Returns:
            End offsets by partition.

        Raises:
            BrokerError: A leader does not answer.
        """
        consumer, places = self._opened(), [TopicPartition(topic, partition) for partition in partitions]
        try:
            ends = await consumer.end_offsets(places)
        except KafkaError as exc:
            raise read_error(self._clients.bootstrap, {Place(*place): 0 for place in places}, exc) from exc
        return {place.partition: end for place, end in ends.items()}

    def set_fetch_wait(self, wait_ms: int) -> None:
        """Change `fetch_max_wait_ms`, from the next request on."""
        if self._consumer is not None and (fetcher := self._consumer._fetcher) is not None:
            fetcher._fetch_max_wait_ms = wait_ms

    def begin(self, partition: int, offset: int) -> None:
        """Read a partition from an offset on; also moves one that is being read."""
        consumer, place = self._opened(), self._places[partition]
        consumer.seek(place, offset)
        consumer.resume(place)
        self._begun.add(partition)

    def pause(self, partition: int) -> None:
        """Stop reading a partition; records fetched in advance are dropped."""
        if self._consumer is not None:
            self._consumer.pause(self._places[partition])
        self._begun.discard(partition)

    def resume(self, partition: int) -> None:
        """Go on after `pause`, with the first record that `fetch` has not returned."""
        self._opened().resume(self._places[partition])
        self._begun.add(partition)

    async def fetch(
        self, timeout_ms: int, max_records: int | None = None, partitions: Collection[int] | None = None
    ) -> Fetched:
        """Fetch the next records.

        Args:
            timeout_ms: How long to wait if there are none.
            max_records: Limit over all partitions; None for everything that was fetched.
            partitions: Partitions to take records of; None for all. The others keep what was fetched for them, which
                delays the next request to their broker by 0.1 s.

        Returns:
            The records.

        Raises:
            BrokerError: Kafka refuses the request, or the client has ended.
        """
        consumer = self._opened()
        require_alive(consumer)
        only = [] if partitions is None else [self._places[partition] for partition in partitions]
        try:
            found = await consumer.getmany(*only, timeout_ms=timeout_ms, max_records=max_records)
        except OffsetOutOfRangeError as exc:
            lost = [place.partition for place in exc.args[0] if place.partition in self._begun]
            for partition in lost:
                self.pause(partition)
            return Fetched({}, lost)
        except KafkaError as exc:
            raise read_error(self._clients.bootstrap, await self._positions(consumer), exc) from exc
        return Fetched({place.partition: records for place, records in found.items() if records}, ())

    async def position(self, partition: int) -> int:
        """Return the next offset to read; it also advances over transaction markers."""
        return int(await self._opened().position(self._places[partition]))

    def end_seen(self, partition: int) -> int | None:
        """Return the end of a partition as of the last response to a fetch; None before the first one."""
        consumer, place = self._opened(), self._places[partition]
        stable: int | None = consumer.last_stable_offset(place)
        high: int | None = consumer.highwater(place)
        return high if stable is None or stable < 0 else stable  # negative: the broker has no transactions

    async def _positions(self, consumer: AIOKafkaConsumer) -> dict[Place, int]:
        return {Place(self.topic, p): int(await consumer.position(self._places[p])) for p in self._begun}

    def _opened(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            msg = f"expected an open reader of {self.topic}, got a closed one"
            raise BrokerError(msg)
        return self._consumer
