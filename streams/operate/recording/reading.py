"""Reading partitions from given offsets to where they end at the call, for recordings."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from sidestream.streams.errors import BrokerError, DataError, TopicError
from sidestream.streams.kafka.clients import Clients

POLL_MS = 200
NO_PROGRESS_S = 60.0
MAX_POLL_RECORDS = 2_000


@dataclass(frozen=True, slots=True)
class Span:
    """What is to be read of one partition.

    Attributes:
        begin: First offset that the log still has.
        start: First offset to read.
        end: First offset not to read.
        lost: Offsets that were to be read and that retention took.
    """

    begin: int
    start: int
    end: int
    lost: int = 0


class TopicReader:
    """Reads one topic without a group; use it as a context manager.

    Args:
        clients: The Kafka.
        topic: Name of the topic.
        seconds: Monotonic clock.

    Raises:
        TopicError: There is no such topic.
    """

    def __init__(self, clients: Clients, topic: str, seconds: Callable[[], float] = time.monotonic) -> None:
        self._clients = clients
        self._topic = topic
        self._seconds = seconds
        self._consumer: KafkaConsumer = clients.consumer(max_poll_records=MAX_POLL_RECORDS)
        self._places: list[TopicPartition] = []

    def __enter__(self) -> "TopicReader":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._consumer.close()

    def spans(self, positions: Mapping[int, int], since_ms: int | None = None) -> dict[int, Span]:
        """Find out what is to be read.

        Args:
            positions: Next offsets of partitions that were read before.
            since_ms: Start other partitions at their first record with this Kafka timestamp or a later one; None at
                their beginning.

        Returns:
            Spans by partition.

        Raises:
            TopicError: There is no such topic.
            DataError: A partition ends before its position: the topic is another one.
            BrokerError: Kafka does not answer.
        """
        try:
            return self._spans(positions, since_ms)
        except KafkaError as exc:
            raise self._unreadable(exc) from exc

    def read(self, spans: Mapping[int, Span]) -> Iterator[list[Any]]:
        """Read to the ends.

        Args:
            spans: What `spans` gave.

        Yields:
            Records of one poll; partitions in order of offsets.

        Raises:
            BrokerError: Kafka does not answer, or nothing comes for a minute.
        """
        left = {number: span for number, span in spans.items() if span.start < span.end}
        try:
            for place in self._places:
                if place.partition in left:
                    self._consumer.resume(place)
                    self._consumer.seek(place, left[place.partition].start)
                else:
                    self._consumer.pause(place)
            moved_at = self._seconds()
            while left:
                found = self._consumer.poll(timeout_ms=POLL_MS)
                records = [
                    record
                    for place, batch in found.items()
                    for record in batch
                    if place.partition in left and record.offset < left[place.partition].end
                ]
                if records:
                    yield records
                # Positions, not records, say when the end is reached: the last offsets may be control records.
                done = [
                    number
                    for number, span in left.items()
                    if self._consumer.position(TopicPartition(self._topic, number)) >= span.end
                ]
                for number in done:
                    self._consumer.pause(TopicPartition(self._topic, number))
                    del left[number]
                if found or done:
                    moved_at = self._seconds()
                elif self._seconds() - moved_at > NO_PROGRESS_S:
                    places = ", ".join(f"{self._topic}/{number}" for number in sorted(left))
                    msg = f"{self._clients.bootstrap}: nothing came from {places} for {NO_PROGRESS_S:g} s; run it again"
                    raise BrokerError(msg)
        except KafkaError as exc:
            raise self._unreadable(exc) from exc

    def _spans(self, positions: Mapping[int, int], since_ms: int | None) -> dict[int, Span]:
        numbers = sorted(self._consumer.partitions_for_topic(self._topic) or ())
        if not numbers:
            msg = f"expected topic {self._topic}, got none; `sidestream topics list` shows what is there"
            raise TopicError(msg)
        self._places = [TopicPartition(self._topic, number) for number in numbers]
        self._consumer.assign(self._places)
        begins = self._consumer.beginning_offsets(self._places)
        ends = self._consumer.end_offsets(self._places)
        firsts: Mapping[Any, Any] = {}
        # The embedded broker cannot look offsets up by time.
        if since_ms is not None and not self._clients.is_embedded:
            firsts = self._consumer.offsets_for_times({place: max(0, since_ms) for place in self._places})
        spans: dict[int, Span] = {}
        for place in self._places:
            begin, end, number = begins[place], ends[place], place.partition
            if number in positions:
                spans[number] = self._continued(number, positions[number], begin, end)
            elif place in firsts:
                first = firsts[place]
                spans[number] = Span(begin, end if first is None else min(first.offset, end), end)
            else:
                spans[number] = Span(begin, begin, end)
        return spans

    def _continued(self, number: int, position: int, begin: int, end: int) -> Span:
        if position > end:
            msg = (
                f"{self._topic}/{number}: expected offset {position}, up to which was recorded, got a partition that "
                f"ends at {end}: the topic was made again; record into another folder"
            )
            raise DataError(msg)
        return Span(begin, max(position, begin), end, max(0, begin - position))

    def _unreadable(self, exc: Exception) -> BrokerError:
        msg = f"topic {self._topic} at {self._clients.bootstrap} cannot be read: {exc!r}; check that the broker is up"
        return BrokerError(msg)
