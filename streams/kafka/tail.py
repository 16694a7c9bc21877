"""Reading a topic as it is: from its start or its end, to what is there now or for as long as one likes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from sidestream.streams.errors import BrokerError, TopicError
from sidestream.streams.kafka.clients import Clients

POLL_MS = 200


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One record with its place.

    Attributes:
        partition: Partition.
        offset: Offset.
        timestamp: Kafka timestamp, epoch milliseconds.
        key: Key, None where there is none.
        value: Value, None for a tombstone.
        headers: Header names and values.
    """

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def read_topic(
    clients: Clients, topic: str, *, from_start: bool = True, follow: bool = False, idle_s: float | None = None
) -> Iterator[TopicRecord]:
    """Read a topic without a group.

    Args:
        clients: The Kafka.
        topic: Topic name.
        from_start: Begin with the oldest record; else with the next one.
        follow: Go on when all that was there at the call has been read.
        idle_s: End a `follow` after so long without a record; None never ends it.

    Yields:
        Records, in order inside a partition.

    Raises:
        TopicError: There is no such topic.
        BrokerError: The broker does not answer.
    """
    consumer = clients.consumer(auto_offset_reset="earliest")
    try:
        yield from _read(consumer, topic, from_start, follow, idle_s)
    except KafkaError as exc:
        msg = f"topic {topic} at {clients.bootstrap} cannot be read: {exc!r}; check that the broker is up"
        raise BrokerError(msg) from exc
    finally:
        consumer.close()


def _read(
    consumer: KafkaConsumer, topic: str, from_start: bool, follow: bool, idle_s: float | None
) -> Iterator[TopicRecord]:
    places = _assign(consumer, topic)
    ends = consumer.end_offsets(places)
    starts = consumer.beginning_offsets(places) if from_start else ends
    for place in places:
        consumer.seek(place, starts[place])
    quiet_since = time.monotonic()
    # Positions, not records, say when the end is reached: the last offsets may be control records.
    while follow or any(consumer.position(place) < ends[place] for place in places):
        found = consumer.poll(timeout_ms=POLL_MS)
        for records in found.values():
            for r in records:
                yield _record(r)
        if found:
            quiet_since = time.monotonic()
        elif idle_s is not None and time.monotonic() - quiet_since > idle_s:
            return


class Follower:
    """Follows a topic from its oldest record, without a group, for as long as it is asked; close it.

    Args:
        clients: The Kafka.
        topic: Topic name.

    Attributes:
        starts: First offset of each partition when it was opened.

    Raises:
        TopicError: There is no such topic.
    """

    def __init__(self, clients: Clients, topic: str) -> None:
        self._consumer = clients.consumer(auto_offset_reset="earliest")
        try:
            places = _assign(self._consumer, topic)
        except TopicError:
            self._consumer.close()
            raise
        firsts = self._consumer.beginning_offsets(places)
        for place in places:
            self._consumer.seek(place, firsts[place])
        self.starts: dict[int, int] = {place.partition: offset for place, offset in firsts.items()}

    def poll(self, timeout_ms: float) -> list[TopicRecord]:
        """Wait for the next records.

        Args:
            timeout_ms: How long to wait where none is there.

        Returns:
            Records, in order inside a partition; maybe none.
        """
        return [_record(r) for records in self._consumer.poll(timeout_ms=timeout_ms).values() for r in records]

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


def read_record(clients: Clients, topic: str, partition: int, offset: int) -> TopicRecord | None:
    """Read one record.

    Args:
        clients: The Kafka.
        topic: Topic name.
        partition: Partition.
        offset: Offset.

    Returns:
        The record; none where the log holds none there (any more).

    Raises:
        TopicError: There is no such topic or partition.
        BrokerError: The broker does not answer.
    """
    consumer = clients.consumer(auto_offset_reset="earliest")
    try:
        if partition not in (consumer.partitions_for_topic(topic) or ()):
            msg = f"expected {topic}/{partition}, got no such partition; `sidestream topics list` shows what is there"
            raise TopicError(msg)
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        if not consumer.beginning_offsets([place])[place] <= offset < consumer.end_offsets([place])[place]:
            return None
        consumer.seek(place, offset)
        while consumer.position(place) <= offset:
            for record in consumer.poll(timeout_ms=POLL_MS).get(place, ()):
                return _record(record) if record.offset == offset else None
    except KafkaError as exc:
        msg = f"topic {topic} at {clients.bootstrap} cannot be read: {exc!r}; check that the broker is up"
        raise BrokerError(msg) from exc
    finally:
        consumer.close()
    return None


def _assign(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    if not places:
        msg = f"expected topic {topic}, got none; `sidestream topics list` shows what is there"
        raise TopicError(msg)
    consumer.assign(places)
    return places


def _record(r: Any) -> TopicRecord:
    return TopicRecord(
        r.partition, r.offset, r.timestamp, r.key, r.value, tuple((n, v or b"") for n, v in r.headers or ())
    )
