"""Following topics without a consumer group on the event loop.

The rules (end, start, lost offsets, no progress, new partitions) are those of `spans`; this module applies them with
aiokafka. Commands, which have no event loop, use `blocking`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.faults import unreadable
from sidestream.streams.kafka.pace import FULL_SPEED, Pace
from sidestream.streams.kafka.presence import require_partitions, require_topics
from sidestream.streams.kafka.spans import NO_PROGRESS_S, POLL_MS, Batch, Bounds, Place, Spans, Start


class Follower:
    """A consumer of chosen partitions with explicit positions; `poll` it from one task.

    Args:
        clients: The Kafka.
        partitions: Partition numbers by topic.
        start: Where to begin; none where `seek` says so for every partition before the first `poll`.
        read_committed: Hide records of open and aborted transactions.
        restarts: Read a topic that is recreated meanwhile again from its beginning; else raise `TopicError`.
        grows: Follow partitions that the topics have besides, now or later; noticed with the client's metadata, within
            5 minutes.
        no_progress_s: Longest wait of `to_end` without progress.
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
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._wanted = [Place(topic, number) for topic, numbers in partitions.items() for number in sorted(numbers)]
        self._topics = tuple(partitions)
        self._start = start
        self._read_committed = read_committed
        self._grows = grows
        self._seconds = seconds
        self._spans = Spans(restarts=restarts, no_progress_s=no_progress_s)
        self._consumer: AIOKafkaConsumer | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is connected and knows its positions."""
        return self._consumer is not None

    @property
    def positions(self) -> Mapping[Place, int]:
        """Next offset to be read, by partition, as of the last `poll`."""
        return self._spans.positions

    @property
    def bounds(self) -> Mapping[Place, Bounds]:
        """First and end offset of each partition when they were last asked for."""
        return self._spans.bounds

    @property
    def behind(self) -> int:
        """How many offsets are left to the ends that were aimed at: those seen at `open`, or given to `aim`."""
        return self._spans.behind

    @property
    def is_caught_up(self) -> bool:
        """Whether the ends that were aimed at are reached."""
        return self._spans.is_reached

    @property
    def num_restarts(self) -> int:
        """How often a partition was read again from its beginning because its topic was recreated or truncated."""
        return self._spans.num_restarts

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, take the first positions and aim at the ends as they are now.

        Raises:
            TopicError: A topic or partition does not exist.
            BrokerError: Kafka does not answer, or refuses.
        """
        consumer = self._clients.async_consumer(auto_offset_reset="none", read_committed=self._read_committed)
        is_ready = False
        try:
            await consumer.start()
            await self._assign(consumer)
            is_ready = True
        except KafkaError as exc:
            raise self._unreadable(exc) from exc
        finally:
            if not is_ready:
                await consumer.stop()
        self._consumer = consumer

    async def close(self) -> None:
        """Close the connection; positions stay known."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def poll(self, timeout_ms: int, max_records: int | None = None) -> list[Batch]:
        """Take what has come.

        Args:
            timeout_ms: Longest wait where nothing has.
            max_records: Limit over all partitions; none for all that was fetched.

        Returns:
            Batches, maybe none; `positions` are those behind them.

        Raises:
            TopicError: The topic was recreated or truncated, and nothing restarts.
            BrokerError: Kafka refuses, or what it gives cannot be read.
        """
        consumer = self._opened()
        try:
            if self._grows:
                await self._add_partitions(consumer)
            fetched = await consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)
        except OffsetOutOfRangeError:
            await self._settle(consumer)
            return []
        except KafkaError as exc:
            # It may have passed over records that it did not hand out.
            self._seek_all(consumer)
            raise self._unreadable(exc) from exc
        # Not the consumer of `self`: it may have been closed meanwhile. Positions are known, so this does not suspend:
        # nobody sees them before the records are handed over.
        await self._note_positions(consumer)
        return [Batch(Place(*place), records) for place, records in fetched.items() if records]

    async def refresh(self) -> None:
        """Take the positions from the client: they also move over what is no record, while `poll` still waits."""
        await self._note_positions(self._opened())

    async def ends(self) -> dict[Place, int]:
        """Ask Kafka where the partitions end now.

        Returns:
            End offsets by partition.

        Raises:
            BrokerError: Kafka does not say.
        """
        places = [TopicPartition(*place) for place in self._spans.bounds]
        try:
            found = await self._opened().end_offsets(places)
        except KafkaError as exc:
            raise self._unreadable(exc) from exc
        return self._spans.note_ends({Place(*place): end for place, end in found.items()})

    def aim(self, ends: Mapping[Place, int]) -> None:
        """Set the ends for `to_end`, `behind` and `is_caught_up`.

        Args:
            ends: By partition.
        """
        self._spans.aim(ends)

    def seek(self, positions: Mapping[Place, int]) -> None:
        """Read partitions from other positions on; not while a `poll` is under way.

        Args:
            positions: Next offsets by partition.
        """
        consumer = self._opened()
        for place, position in positions.items():
            consumer.seek(TopicPartition(*place), self._spans.seek(place, position))

    def rewind(self) -> None:
        """Read all partitions from their first offset again."""
        self.seek({place: begin for place, (begin, _) in self._spans.bounds.items()})

    async def to_end(
        self, *, poll_ms: int = POLL_MS, max_records: int | None = None, pace: Pace = FULL_SPEED
    ) -> AsyncGenerator[Batch, None]:
        """Read to the ends that were aimed at.

        Args:
            poll_ms: Longest wait for a fetch.
            max_records: Limit of one poll over all partitions.
            pace: Rest after each batch, by the time that the caller spent on it.

        Yields:
            Batches, by partition in offset order; nothing from behind the ends.

        Raises:
            TopicError: A topic was recreated or truncated, and nothing restarts.
            BrokerError: Kafka cannot be read, or nothing has come for too long.
        """
        while not self._spans.is_reached:
            before = dict(self._spans.positions)
            began_s = self._seconds()
            batches = await self.poll(poll_ms, max_records)
            if self._spans.positions == before and self._spans.waited(self._seconds() - began_s):
                await self._look_again()
            for batch in batches:
                if records := self._spans.before_end(batch):
                    began_s = self._seconds()
                    yield Batch(batch.place, records)
                    if pace.rest:
                        await asyncio.sleep(pace.rest_s(self._seconds() - began_s))

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        await require_topics(consumer, self._topics, self._clients.bootstrap, self._seconds)
        consumer.assign([TopicPartition(*place) for place in self._wanted])
        await require_partitions(consumer, self._wanted, self._clients.bootstrap, self._seconds)
        bounds = await _bounds(consumer, self._wanted)
        self._spans.bounds.update(bounds)
        if self._start is not None:
            self._spans.start(bounds, self._start)
            self._seek_all(consumer)
            self._spans.aim({place: end for place, (_, end) in bounds.items()})

    async def _add_partitions(self, consumer: AIOKafkaConsumer) -> None:
        known = self._spans.positions
        numbers = {topic: consumer.partitions_for_topic(topic) or () for topic in self._topics}
        if sum(map(len, numbers.values())) <= len(known):
            return
        new = sorted({Place(topic, n) for topic, found in numbers.items() for n in found} - known.keys())
        # Assigning anew forgets the positions of all.
        consumer.assign([TopicPartition(*place) for place in (*known, *new)])
        self._seek_all(consumer)
        self._spans.start(await _bounds(consumer, new), "beginning")
        self._seek_all(consumer)

    async def _note_positions(self, consumer: AIOKafkaConsumer) -> None:
        for place in list(self._spans.positions):
            self._spans.move(place, await consumer.position(TopicPartition(*place)))

    async def _look_again(self) -> None:
        began_s = self._seconds()
        try:
            self._spans.look_again(await self.ends())
        except BrokerError:  # a broker that is away may come back; how long is waited is judged below
            self._spans.waited(self._seconds() - began_s)

    async def _settle(self, consumer: AIOKafkaConsumer) -> None:
        """Find positions that the log has, after one that it has not."""
        try:
            bounds = await _bounds(consumer, self._spans.positions)
        except KafkaError as exc:
            raise self._unreadable(exc) from exc
        self._spans.resume(bounds)
        self._seek_all(consumer)

    def _seek_all(self, consumer: AIOKafkaConsumer) -> None:
        for place, position in self._spans.positions.items():
            consumer.seek(TopicPartition(*place), position)

    def _unreadable(self, exc: KafkaError) -> Exception:
        positions = self._spans.positions or dict.fromkeys(self._wanted, 0)
        return unreadable(self._clients.bootstrap, positions, exc)

    def _opened(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            msg = f"expected an open reader of {', '.join(self._topics)}, got a closed one"
            raise BrokerError(msg)
        return self._consumer


async def _bounds(consumer: AIOKafkaConsumer, places: Iterable[Place]) -> dict[Place, Bounds]:
    asked = [TopicPartition(*place) for place in places]
    begins, ends = await asyncio.gather(consumer.beginning_offsets(asked), consumer.end_offsets(asked))
    return {Place(*place): Bounds(begins[place], ends[place]) for place in asked}
