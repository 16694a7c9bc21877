"""Raw records of a topic: from its start or end, up to the current end or following new records."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import Batch, Place, Start

POLL_MS = 200


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One record with its partition and offset.

    Attributes:
        partition: Partition.
        offset: Offset.
        timestamp: Kafka timestamp, epoch milliseconds.
        key: Key; None if the record has none.
        value: Value; None for a tombstone.
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
    """Read a topic without a consumer group.

    Args:
        clients: Kafka client factory.
        topic: Topic name.


        from_start: Whether to begin with the oldest record; otherwise with the next new one.
        follow: Whether to continue with new records after the end at the time of the call.
        idle_s: With `follow`, stop after this long without a record; None to never stop.

    Yields:
        Records, in offset order within a partition.

    Raises:
        TopicError: The topic does not exist, or it was recreated while being read to its end.
        BrokerError: The broker does not answer.
    """
    start: Start = "beginning" if from_start else "end"
    with BlockingFollower(clients, {topic: None}, start=start, restarts=follow) as follower:
        for _, records in _followed(follower, idle_s) if follow else follower.to_end():
            for record in records:
                yield topic_record(record)


def _followed(follower: BlockingFollower, idle_s: float | None) -> Iterator[Batch]:
    quiet_since_s = time.monotonic()
    while True:
        if batches := follower.poll(POLL_MS):
            yield from batches
            quiet_since_s = time.monotonic()
        elif idle_s is not None and time.monotonic() - quiet_since_s > idle_s:
            return


class RecordFollower:
    """Follows a topic from its oldest record, without a group, for as long as it is polled; close it.

    Args:
        clients: The Kafka.
        topic: Topic name.

    Attributes:
        starts: First offset of each partition when it was opened.

    Raises:
        TopicError: There is no such topic.
    """

    def __init__(self, clients: Clients, topic: str) -> None:
        self._follower = BlockingFollower(clients, {topic: None}, restarts=True)
        self.starts = {place.partition: bounds.begin for place, bounds in self._follower.bounds.items()}

    def poll(self, timeout_ms: float) -> list[TopicRecord]:
        """Wait for the next records.

        Args:
            timeout_ms: How long to wait where none is there.

        Returns:
            Records, in order inside a partition; maybe none.
        """
        return [topic_record(record) for _, records in self._follower.poll(timeout_ms) for record in records]

    def close(self) -> None:
        """Close the connection."""
        self._follower.close()


def read_record(clients: Clients, topic: str, partition: int, offset: int) -> TopicRecord | None:
    """Read one record.

    Args:
        clients: Kafka client factory.
        topic: Topic name.
        partition: Partition.
        offset: Offset.

    Returns:
        The record; None if the log holds no record at this offset (any more).

    Raises:
        TopicError: The topic or partition does not exist.
        BrokerError: The broker does not answer.
    """
    place = Place(topic, partition)
    with BlockingFollower(clients, {topic: [partition]}) as follower:
        begin, end = follower.bounds[place]
        if not begin <= offset < end:
            return None
        follower.seek({place: offset})
        for _, records in follower.to_end():
            return topic_record(records[0]) if records[0].offset == offset else None
    return None


def topic_record(record: Any) -> TopicRecord:
    """Take a record from what the client library gives."""
    headers = tuple((name, value or b"") for name, value in record.headers or ())
    return TopicRecord(record.partition, record.offset, record.timestamp, record.key, record.value, headers)
