"""Reading a topic as it is: from its start or its end, to what is there now or for as long as one likes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sidestream.streams.kafka.blocking import BlockingFollower
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.spans import Batch, Place, Start

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
        TopicError: There is no such topic, or it was recreated while it was read to its end.
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
