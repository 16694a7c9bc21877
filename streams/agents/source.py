"""A consumed record as the catalogue agent hands it to its thread, and as dead letters are made from it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """A Faust message, taken apart.

    Attributes:
        topic: Source topic.
        partition: Source partition.
        offset: Source offset.
        timestamp: Kafka timestamp in milliseconds, -1 for none.
        key: Key bytes.
        value: Value bytes.
        headers: Headers in their order.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    @classmethod
    def of(cls, message: Any) -> "Source":
        """Take a Faust message.

        Args:
            message: As Faust's streams give it.

        Returns:
            The record.
        """
        headers = message.headers.items() if hasattr(message.headers, "items") else message.headers or ()
        return cls(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp=-1 if message.timestamp is None else round(message.timestamp * 1e3),
            key=message.key,
            value=message.value,
            headers=list(headers),
        )
