"""Pending work and progress of a part of the worker, as evaluated by the watchdog."""

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition


@dataclass(frozen=True, slots=True)
class Work:
    """Pending work of one part at one moment.

    Attributes:
        waiting: Amount of pending work; with 0 the part may stay idle forever.
        done: Changes whenever work gets done, and only then: newly arrived records are not progress.
    """

    waiting: int
    done: Hashable = None


IDLE = Work(0)


class ReadProgress:
    """Read positions of a consumer, and the number of its fetched records in flight.

    It relies on positions, not records: control records at the end of a log are skipped without being delivered.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.positions: dict[int, int] = {}

    async def note(
        self, consumer: AIOKafkaConsumer, topic: str, partitions: Iterable[int], fetched: Mapping[int, Collection[Any]]
    ) -> None:
        """Update the positions after a fetch.

        Args:
            consumer: Consumer whose positions are known, so this does not block.
            topic: Topic that it reads.
            partitions: Partitions of the topic.
            fetched: Records by partition, now in flight.
        """
        self.in_flight = sum(len(records) for records in fetched.values())
        for partition in partitions:
            self.positions[partition] = await consumer.position(TopicPartition(topic, partition))

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count the records that are not fetched.

        Args:
            ends: Recent end offsets of the topic, by partition.

        Returns:
            Number of records by partition; transaction markers count until they are skipped.
        """
        return {p: max(0, ends.get(p, 0) - position) for p, position in self.positions.items()}

    def work(self, ends: Mapping[int, int], done: Hashable) -> Work:
        """Return what is not read or not finished.

        Args:
            ends: Recent end offsets of the topic, by partition.
            done: Progress of the records after the fetch.

        Returns:
            Pending records, and the overall progress.
        """
        return Work(sum(self.unread(ends).values()) + self.in_flight, (tuple(self.positions.items()), done))
