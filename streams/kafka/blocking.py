"""Blocking reader of topics without a consumer group, for commands and operator tools (no event loop).

Applies the rules of `sidestream.streams.kafka.read_rules`, like `sidestream.streams.kafka.follower`, with kafka-python.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError

from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_errors import missing_partition_error, missing_topic_error, read_error
from sidestream.streams.kafka.read_rules import NO_PROGRESS_S, POLL_MS, Batch, Bounds, Place, Reader, ReadState, Start


class BlockingFollower(Reader):
    """Consumer of given partitions with explicit positions; the constructor connects, the caller closes.

    Args:
        clients: Kafka client factory.
        partitions: Partition numbers by topic; None for all partitions of the topic, including ones added later.
        start: First positions.
        read_committed: Hide records of open and aborted transactions.
        restarts: Whether a topic that is recreated in the meantime is read again from its beginning; otherwise it
            raises `TopicError`.
        no_progress_s: How long `to_end` waits without progress before it fails.
        seconds: Monotonic clock.

    Raises:
        TopicError: A topic or partition does not exist.
        BrokerError: Kafka does not answer, or refuses the request.
    """

    def __init__(
        self,
        clients: Clients,
        partitions: Mapping[str, Collection[int] | None],
        *,
        start: Start = "beginning",
        read_committed: bool = True,
        restarts: bool = True,
        no_progress_s: float = NO_PROGRESS_S,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bootstrap, self._is_embedded = clients.bootstrap, clients.is_embedded
        self._growing = [topic for topic, numbers in partitions.items() if numbers is None]
        self._seconds = seconds
        self._state = ReadState(restarts=restarts, no_progress_s=no_progress_s)
        try:
            self._consumer: KafkaConsumer = clients.consumer(auto_offset_reset="none", read_committed=read_committed)
        except KafkaError as exc:
            raise self._read_error(exc) from exc
        is_ready = False
        try:
            self._assign(partitions, start)
            is_ready = True
        except KafkaError as exc:
            raise self._read_error(exc) from exc
        finally:
            if not is_ready:
                self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def num_lost(self) -> int:
        """Number of offsets deleted before they were read: after explicit positions, or during the read."""
        return self._state.num_lost

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._consumer.close()

    def poll(self, timeout_ms: float) -> list[Batch]:
        """Fetch the next records.

        Args:
            timeout_ms: How long to wait if there are none.

        Returns:
            Batches, possibly empty; `positions` are the offsets after them.

        Raises:
            TopicError: The topic was recreated or truncated, and this reader does not restart.
            BrokerError: Kafka refuses the request, or its response cannot be read.
        """
        try:
            self._add_partitions()
            fetched = self._consumer.poll(timeout_ms=timeout_ms)
            for place in self._state.positions:
                self._state.move(place, self._consumer.position(TopicPartition(*place)))
        except (OffsetOutOfRangeError, LogTruncationError):
            self._recover_positions()
            return []
        except KafkaError as exc:
            self._seek_all()
            raise self._read_error(exc) from exc
        return [Batch(Place(*place), records) for place, records in fetched.items() if records]

    def ends(self) -> dict[Place, int]:
        """Fetch the current end offsets.

        Returns:
            End offsets by partition.

        Raises:
            BrokerError: Kafka does not answer.
        """
        places = [TopicPartition(*place) for place in self._state.bounds]
        try:
            found = self._consumer.end_offsets(places)
        except KafkaError as exc:
            raise self._read_error(exc) from exc
        return self._state.update_ends({Place(*place): end for place, end in found.items()})

    def offsets_since(self, since_ms: int) -> dict[Place, int]:
        """Fetch the offsets at which records with the given timestamp or a later one begin.

        Timestamps need not be in order: all records before such an offset are older; records after it may be older too.

        Args:
            since_ms: Kafka timestamp, UTC epoch ms.

        Returns:
            First offset of such a record, by partition; the end if there is none. On the embedded broker, which cannot
            look up offsets by time, the first existing offset.

        Raises:
            BrokerError: Kafka does not answer.
        """
        bounds = self._state.bounds
        if self._is_embedded:
            return {place: begin for place, (begin, _) in bounds.items()}
        try:
            found = self._consumer.offsets_for_times({TopicPartition(*place): max(0, since_ms) for place in bounds})
        except KafkaError as exc:
            raise self._read_error(exc) from exc
        firsts = {Place(*place): first.offset for place, first in found.items() if first is not None}
        # With read_committed, records past the last stable offset cannot be read yet.
        return {place: min(firsts.get(place, end), end) for place, (_, end) in bounds.items()}

    def set_targets(self, ends: Mapping[Place, int] | None = None) -> None:
        """Set the target ends for `to_end`, `behind` and `is_caught_up`.

        Args:
            ends: By partition; None for the current ends.
        """
        self._state.set_targets(self.ends() if ends is None else ends)

    def seek(self, positions: Mapping[Place, int]) -> None:
        """Continue reading partitions at other positions.

        Args:
            positions: Next offsets by partition.
        """
        for place, position in positions.items():
            self._consumer.seek(TopicPartition(*place), self._state.seek(place, position))

    def to_end(self, poll_ms: float = POLL_MS) -> Iterator[Batch]:
        """Read to the target ends.

        Args:
            poll_ms: Timeout of one fetch.

        Yields:
            Batches, in offset order within a partition; no records past the target ends.

        Raises:
            TopicError: A topic was recreated or truncated, and this reader does not restart.
            BrokerError: Kafka cannot be read, or there was no progress for too long.
        """
        while not self._state.is_reached:
            before = dict(self._state.positions)
            began_s = self._seconds()
            batches = self.poll(poll_ms)
            if self._state.positions == before and self._state.add_wait(self._seconds() - began_s):
                self._check_ends()
            for batch in batches:
                if records := self._state.before_end(batch):
                    yield Batch(batch.place, records)

    def _assign(self, partitions: Mapping[str, Collection[int] | None], start: Start) -> None:
        wanted: list[Place] = []
        for topic, numbers in partitions.items():
            found = self._consumer.partitions_for_topic(topic)
            if not found:
                raise missing_topic_error(topic, self._bootstrap)
            wanted += [Place(topic, number) for number in sorted(found if numbers is None else numbers)]
            for place in wanted:
                if place.topic == topic and place.partition not in found:
                    raise missing_partition_error(place, found)
        self._consumer.assign([TopicPartition(*place) for place in wanted])
        bounds = self._fetch_bounds(wanted)
        self._state.start(bounds, start)
        self._seek_all()
        self._state.set_targets({place: end for place, (_, end) in bounds.items()})

    def _add_partitions(self) -> None:
        known = self._state.positions
        found = {Place(t, n) for t in self._growing for n in self._consumer.partitions_for_topic(t) or ()}
        if new := sorted(found - known.keys()):
            self._consumer.assign([TopicPartition(*place) for place in (*known, *new)])
            self._state.start(self._fetch_bounds(new), "beginning")
            self._seek_all()

    def _check_ends(self) -> None:
        began_s = self._seconds()
        try:
            self._state.check_ends(self.ends())
        except BrokerError:  # an unavailable broker may come back; the wait counts towards the limit
            self._state.add_wait(self._seconds() - began_s)

    def _recover_positions(self) -> None:
        """Move to positions that exist in the log, after an out-of-range position."""
        try:
            bounds = self._fetch_bounds(self._state.positions)
        except KafkaError as exc:
            raise self._read_error(exc) from exc
        self._state.resume(bounds)
        self._seek_all()

    def _fetch_bounds(self, places: Iterable[Place]) -> dict[Place, Bounds]:
        asked = [TopicPartition(*place) for place in places]
        begins, ends = self._consumer.beginning_offsets(asked), self._consumer.end_offsets(asked)
        return {Place(*place): Bounds(begins[place], ends[place]) for place in asked}

    def _seek_all(self) -> None:
        for place, position in self._state.positions.items():
            self._consumer.seek(TopicPartition(*place), position)

    def _read_error(self, exc: KafkaError) -> Exception:
        return read_error(self._bootstrap, self._state.positions, exc)
