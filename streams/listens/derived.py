"""Derived output of the listen lane: records made from the same listens as the states, and durable with them.

Derived output goes to a topic with the partitions of the listens, through the lane's own writer: in a transaction with
the source offset, or with the idempotent producer; in both cases it is fenced like the states.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from sidestream.models.data.rows import ListenRow
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.runtime.pacing import Pacer


class PartitionOutput(Protocol):
    """Derives records from the listens of one partition."""

    def add(self, by_user: Collection[Sequence[tuple[int, ListenRow]]], next_offset: int) -> None:
        """Add the listens of one batch, with source offsets; `next_offset` is the source offset after the batch."""


class DerivedOutput(Protocol):
    """Derives records from the listens of the assigned partitions.

    Attributes:
        topic: Output topic.
        by_partition: Output of each partition; filled by `open`.
    """

    topic: str

    @property
    def by_partition(self) -> Mapping[int, PartitionOutput]:
        """Output of each partition."""

    async def open(self, positions: Mapping[int, int]) -> Mapping[int, Mapping[bytes, bytes]]:
        """Prepare for an assignment.

        Args:
            positions: First source offset that is not folded, by partition.

        Returns:
            Records that must be durable before the first listen is folded, by partition.
        """

    def due(self) -> Iterator[tuple[int, Mapping[bytes, bytes]]]:
        """Yield the records to publish now, by partition; called between batches, all of which are durable."""


async def open_derived(output: DerivedOutput | None, writer: ChangelogWriter, positions: Mapping[int, int]) -> None:
    """Prepare derived output for an assignment.

    Args:
        output: The output; None does nothing.
        writer: Open writer that knows the ends of the changelogs.
        positions: First source offset that is not folded, by partition.

    Raises:
        LaneError: The output's first records are not known to be durable.
    """
    if output is None:
        return
    records = await output.open(positions)
    await publish_derived(output.topic, records.items(), writer, positions, Pacer())


async def publish_derived(
    topic: str,
    records: Iterable[tuple[int, Mapping[bytes, bytes]]],
    writer: ChangelogWriter,
    next_offsets: Mapping[int, int],
    pacer: Pacer,
) -> None:
    """Publish derived records partition by partition.

    Args:
        topic: Output topic.
        records: Records by partition; consumed lazily.
        writer: Open writer.
        next_offsets: First source offset that is not durable, by partition.
        pacer: Yields to session-starts.

    Raises:
        LaneError: The records are not known to be durable; the worker must restart.
    """
    for partition, values in records:
        await pacer.yield_if_due()
        await writer.publish(FoldedBatch(partition, {}, (), next_offsets[partition], derived={topic: values}))
