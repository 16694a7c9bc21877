"""Interface between the readers of session-starts and the lane that answers them: `Feed`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from sidestream.streams.kafka.partition_reader import PartitionReader


class Feed(NamedTuple):
    """Where the session-starts go.

    Attributes:
        room: Waits until session-starts may be taken, and returns how many.
        spare: Waits until session-starts could be answered at once, and returns how many.
        is_blocked: Whether a partition should not be read now.
        begin: Takes the records of a fetch, by partition; returns how many of them are answered.
    """

    room: Callable[[], Awaitable[int]]
    spare: Callable[[], Awaitable[int]]
    is_blocked: Callable[[int], bool]
    begin: Callable[[PartitionReader, Mapping[int, list[Any]]], Awaitable[int]]
