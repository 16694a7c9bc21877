"""A catalogue event as it came: where it stood, and its bytes, in the form that dead letters are made from."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """One record of `catalog-items.v1`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def source_of(message: Any) -> Source:
    """Take a message of Faust apart.

    Args:
        message: It; its timestamp is in seconds.

    Returns:
        The record.
    """
    headers = message.headers.items() if hasattr(message.headers, "items") else message.headers or ()
    return Source(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=-1 if message.timestamp is None else round(message.timestamp * 1e3),
        key=message.key,
        value=message.value,
        headers=list(headers),
    )
