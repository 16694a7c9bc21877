"""Derived output of the listen lane: records made from the same listens as the states, and durable with them.

Derived output is written by the lane's own writer: in a transaction with the source offset, or with the idempotent
producer; in both cases it is fenced like the states.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from sidestream.models.data.rows import ListenRow
from sidestream.streams.listens.durable.writer import DerivedRecord


class PartitionOutput(Protocol):
    """Derives records from the listens of one partition."""

    def add(self, by_user: Collection[Sequence[tuple[int, ListenRow]]], next_offset: int) -> None:
        """Add the listens of one durable batch, with source offsets; `next_offset` is the source offset after it."""

    async def catch_up(self, stop: asyncio.Event) -> None:
        """Add the listens that were folded before `resume` and are not published; runs in the background.

        Args:
            stop: Ends it early when set.
        """

    def due(self) -> Sequence[DerivedRecord]:
        """Return the records to publish now, which are then in flight; empty if nothing is due."""

    def everything(self) -> Sequence[DerivedRecord]:
        """Return all that can be published, when the partition is given up; empty while others are in flight."""

    def published(self) -> None:
        """Note that the records returned last are durable; if that is not known, the partition is resumed anew."""


class DerivedOutput(Protocol):
    """Derives records from the listens of the assigned partitions.

    Attributes:
        topics: Topics that it writes, with their numbers of partitions.
    """

    topics: Mapping[str, int]

    async def prepare(self, partition: int) -> None:
        """Read what was published of a partition, once older owners are fenced; while its table is restored.

        Args:
            partition: Partition of the listens.

        Raises:
            BrokerError: Kafka cannot be read.
        """

    async def resume(self, partition: int, position: int) -> PartitionOutput:
        """Resume a partition that is prepared; quick, because the partition is not ready before.

        Args:
            partition: Partition of the listens.
            position: First source offset that is not folded.

        Returns:
            Its output.

        Raises:
            BrokerError: Kafka cannot be read.
        """
