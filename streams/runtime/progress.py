"""What a part of the worker still has to do and how far it has come: what the watchdog judges."""

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition


@dataclass(frozen=True, slots=True)
class Work:
    """One part's work at one moment.

    Attributes:
        waiting: How much waits; with 0 the part may be silent for ever.
        done: Changes whenever something gets done, and only then: news that pile up are no progress.
    """

    waiting: int
    done: Hashable = None


IDLE = Work(0)


class Reading:
    """How far a consumer has read, and how much of that is still in hand.

    Positions, not records, say it: control records at the end of a log are passed over without ever being delivered.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.positions: dict[int, int] = {}

    async def note(
        self, consumer: AIOKafkaConsumer, topic: str, partitions: Iterable[int], fetched: Mapping[int, Collection[Any]]
    ) -> None:
        """Note where the consumer stands after a fetch.

        Args:
            consumer: It; its partitions have valid positions, so this does not wait.
            topic: What it reads.
            partitions: Of the topic.
            fetched: Records by partition, now in hand.
        """
        self.in_flight = sum(len(records) for records in fetched.values())
        for partition in partitions:
            self.positions[partition] = await consumer.position(TopicPartition(topic, partition))

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count what is not fetched.

        Args:
            ends: Of the topic by partition, as Kafka told them lately.

        Returns:
            Records by partition that is read; markers of transactions count until they are passed over.
        """
        return {p: max(0, ends.get(p, 0) - position) for p, position in self.positions.items()}

    def work(self, ends: Mapping[int, int], done: Hashable) -> Work:
        """Tell what is not read or not done.

        Args:
            ends: Of the topic by partition, as Kafka told them lately.
            done: What has become of the records.

        Returns:
            What waits, and how far everything is.
        """
        return Work(sum(self.unread(ends).values()) + self.in_flight, (tuple(self.positions.items()), done))
