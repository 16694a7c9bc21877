"""Asyncio follower of topics without a consumer group.

Applies the rules of `read_rules` (end, start, lost offsets, no progress, new partitions) with aiokafka. Commands, which
have no event loop, use `blocking`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from sidestream.streams.contracts.unreadable import require_intact
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.pace import FULL_SPEED, Pace
from sidestream.streams.kafka.presence import require_partitions, require_topics
from sidestream.streams.kafka.read_errors import read_error
from sidestream.streams.kafka.read_rules import NO_PROGRESS_S, POLL_MS, Batch, Bounds, Place, Reader, ReadState, Start


class Follower(Reader):
    """Consumer of given partitions with explicit positions; `poll` it from one task only.

    Args:
        clients: Kafka client factory.
        partitions: Partition numbers by topic.
        start: First positions; None if the caller seeks every partition before the first `poll`.
        read_committed: Hide records of open and aborted transactions.
        restarts: Whether a topic that is recreated in the meantime is read again from its beginning; otherwise it
            raises `TopicError`.
        grows: Whether further partitions of the topics are followed too, existing or added later; they are found with
            the client's metadata refresh, within 5 minutes.
        no_progress_s: How long `to_end` waits without progress before it fails.
        intact: Whether a record that cannot be read raises `TopicError`, for topics that hold the only copy of
            something; otherwise it is handed over with an `Unreadable` value.
        seconds: Monotonic clock.
    """

    def __init__(
        self,
        clients: Clients,
        partitions: Mapping[str, Collection[int]],
        *,
        start: Start | None = "beginning",
        read_committed: bool = True,
        restarts: bool = True,
        grows: bool = False,
        no_progress_s: float = NO_PROGRESS_S,
        intact: bool = False,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._wanted = [Place(topic, number) for topic, numbers in partitions.items() for number in sorted(numbers)]
        self._topics = tuple(partitions)
        self._start = start
        self._read_committed = read_committed
        self._grows, self._intact = grows, intact
        self._seconds = seconds
        self._state = ReadState(restarts=restarts, no_progress_s=no_progress_s)
        self._consumer: AIOKafkaConsumer | None = None

    @property
    def is_open(self) -> bool:
        """Whether the reader is connected and its positions are known."""
        return self._consumer is not None

    @property
    def num_restarts(self) -> int:
        """Number of times a partition was read again from its beginning after its topic was recreated or truncated."""
        return self._state.num_restarts

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, set the first positions, and make the current ends the target ends.

        Opened again after `close`, it goes on at its positions, and the target ends stay.

        Raises:
            TopicError: A topic or partition does not exist.
            BrokerError: Kafka does not answer, or refuses the request.
        """
        consumer = self._clients.async_consumer(auto_offset_reset="none", read_committed=self._read_committed)
        is_ready = False
        try:
            await consumer.start()
            await self._assign(consumer)
            is_ready = True
        except KafkaError as exc:
            raise self._read_error(exc) from exc
        finally:
            if not is_ready:
                await consumer.stop()
        self._consumer = consumer

    async def close(self) -> None:
        """Close the connection; `positions` keeps its last values."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def poll(self, timeout_ms: int, max_records: int | None = None) -> list[Batch]:
        """Fetch the next records.

        Args:
            timeout_ms: How long to wait if there are none.
            max_records: Limit over all partitions; None for everything that was fetched.

        Returns:
            Batches, possibly empty; `positions` are the offsets after them.

        Raises:
            TopicError: The topic was recreated or truncated, and this reader does not restart; or a record cannot be
                read, and records must be intact.
            BrokerError: Kafka refuses the request, or its response cannot be read.
        """
        consumer = self._opened()
        try:
            if self._grows:
                await self._add_partitions(consumer)
            fetched = await consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)
        except OffsetOutOfRangeError:
            await self._recover_positions(consumer)
            return []
        except KafkaError as exc:
            # aiokafka may have advanced past records that it did not return.
            self._seek_all(consumer)
            raise self._read_error(exc) from exc
        # Not `self._consumer`: it may have been closed in the meantime. Positions are known, so this does not suspend:
        # nobody sees them before the records are returned.
        await self._note_positions(consumer)
        if self._intact:
            for place, records in fetched.items():
                require_intact(place.topic, place.partition, records)
        return [Batch(Place(*place), records) for place, records in fetched.items() if records]

    async def refresh(self) -> None:
        """Read the positions from the client: they also advance over control records while a `poll` is waiting."""
        await self._note_positions(self._opened())

    async def ends(self) -> dict[Place, int]:
        """Fetch the current end offsets.

        Returns:
            End offsets by partition.

        Raises:
            BrokerError: Kafka does not answer.
        """
        places = [TopicPartition(*place) for place in self._state.bounds]
        try:
            found = await self._opened().end_offsets(places)
        except KafkaError as exc:
            raise self._read_error(exc) from exc
        return self._state.update_ends({Place(*place): end for place, end in found.items()})

    def set_targets(self, ends: Mapping[Place, int]) -> None:
        """Set the target ends for `to_end`, `behind` and `is_caught_up`.

        Args:
            ends: By partition.
        """
        self._state.set_targets(ends)

    def seek(self, positions: Mapping[Place, int]) -> None:
        """Continue reading partitions at other positions; not allowed while a `poll` is in progress.

        Args:
            positions: Next offsets by partition.
        """
        consumer = self._opened()
        for place, position in positions.items():
            consumer.seek(TopicPartition(*place), self._state.seek(place, position))

    def rewind(self) -> None:
        """Read all partitions again from their first offset."""
        self.seek({place: begin for place, (begin, _) in self._state.bounds.items()})

    async def to_end(
        self, *, poll_ms: int = POLL_MS, max_records: int | None = None, pace: Pace = FULL_SPEED
    ) -> AsyncGenerator[Batch, None]:
        """Read to the target ends.

        Args:
            poll_ms: Timeout of one fetch.
            max_records: Limit of one poll over all partitions.
            pace: Rest after each batch, relative to the time that the caller spent on it.

        Yields:
            Batches, in offset order within a partition; no records past the target ends.

        Raises:
            TopicError: A topic was recreated or truncated, and this reader does not restart.
            BrokerError: Kafka cannot be read, or there was no progress for too long.
        """
        while not self._state.is_reached:
            before = dict(self._state.positions)
            began_s = self._seconds()
            batches = await self.poll(poll_ms, max_records)
            if self._state.positions == before and self._state.add_wait(self._seconds() - began_s):
                await self._check_ends()
            for batch in batches:
                if records := self._state.before_end(batch):
                    began_s = self._seconds()
                    yield Batch(batch.place, records)
                    if pace.rest:
                        await asyncio.sleep(pace.rest_s(self._seconds() - began_s))

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        await require_topics(consumer, self._topics, self._clients.bootstrap, self._seconds)
        wanted = sorted({*self._wanted, *self._state.positions})
        consumer.assign([TopicPartition(*place) for place in wanted])
        await require_partitions(consumer, wanted, self._clients.bootstrap, self._seconds)
        bounds = await _bounds(consumer, wanted)
        self._state.bounds.update(bounds)
        if self._state.positions:
            self._state.start(bounds, dict(self._state.positions))
            self._seek_all(consumer)
        elif self._start is not None:
            self._state.start(bounds, self._start)
            self._seek_all(consumer)
            self._state.set_targets({place: end for place, (_, end) in bounds.items()})

    async def _add_partitions(self, consumer: AIOKafkaConsumer) -> None:
        known = self._state.positions
        numbers = {topic: consumer.partitions_for_topic(topic) or () for topic in self._topics}
        if sum(map(len, numbers.values())) <= len(known):
            return
        new = sorted({Place(topic, n) for topic, found in numbers.items() for n in found} - known.keys())
        # A new assignment loses the positions of all partitions.
        consumer.assign([TopicPartition(*place) for place in (*known, *new)])
        self._seek_all(consumer)
        self._state.start(await _bounds(consumer, new), "beginning")
        self._seek_all(consumer)

    async def _note_positions(self, consumer: AIOKafkaConsumer) -> None:
        for place in list(self._state.positions):
            self._state.move(place, await consumer.position(TopicPartition(*place)))

    async def _check_ends(self) -> None:
        began_s = self._seconds()
        try:
            self._state.check_ends(await self.ends())
        except BrokerError:  # an unavailable broker may come back; the wait counts towards the limit
            self._state.add_wait(self._seconds() - began_s)

    async def _recover_positions(self, consumer: AIOKafkaConsumer) -> None:
        """Move to positions that exist in the log, after an out-of-range position."""
        try:
            bounds = await _bounds(consumer, self._state.positions)
        except KafkaError as exc:
            raise self._read_error(exc) from exc
        self._state.resume(bounds)
        self._seek_all(consumer)

    def _seek_all(self, consumer: AIOKafkaConsumer) -> None:
        for place, position in self._state.positions.items():
            consumer.seek(TopicPartition(*place), position)

    def _read_error(self, exc: KafkaError) -> Exception:
        positions = self._state.positions or dict.fromkeys(self._wanted, 0)
        return read_error(self._clients.bootstrap, positions, exc)

    def _opened(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            msg = f"expected an open reader of {', '.join(self._topics)}, got a closed one"
            raise BrokerError(msg)
        return self._consumer


async def _bounds(consumer: AIOKafkaConsumer, places: Iterable[Place]) -> dict[Place, Bounds]:
    asked = [TopicPartition(*place) for place in places]
    begins, ends = await asyncio.gather(consumer.beginning_offsets(asked), consumer.end_offsets(asked))
    return {Place(*place): Bounds(begins[place], ends[place]) for place in asked}
