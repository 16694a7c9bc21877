"""What the listen lane publishes beside states: output that is made of the same listens and durable with them.

Derived output goes to a topic with the partitions of the listens, through the lane's own writer: in a transaction with
the source offset, or with the idempotent producer, and in both forms fenced like the states.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from sidestream.models.data.rows import ListenRow
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.runtime.pacing import Pacer


class PartitionOutput(Protocol):
    """Makes records of the listens of one partition."""

    def add(self, by_user: Collection[Sequence[tuple[int, ListenRow]]], next_offset: int) -> None:
        """Take the listens of one batch.

        Args:
            by_user: Source offsets and listens.
            next_offset: First source offset behind the batch.
        """


class DerivedOutput(Protocol):
    """Makes records of the listens of the assigned partitions.

    Attributes:
        topic: Where they go.
        by_partition: What takes the listens of each partition; filled by `open`.
    """

    topic: str

    @property
    def by_partition(self) -> Mapping[int, PartitionOutput]:
        """What takes the listens of each partition."""

    async def open(self, positions: Mapping[int, int]) -> Mapping[int, Mapping[bytes, bytes]]:
        """Get ready for an assignment.

        Args:
            positions: By partition, the first source offset that is not folded.

        Returns:
            By partition, records that must be durable before the first listen is folded.
        """

    def due(self) -> Iterator[tuple[int, Mapping[bytes, bytes]]]:
        """Give what is to be published now, by partition; asked between batches, all of which are durable."""


async def open_derived(output: DerivedOutput | None, writer: ChangelogWriter, positions: Mapping[int, int]) -> None:
    """Get derived output ready for an assignment.

    Args:
        output: The output; none does nothing.
        writer: Open, and told of the changelogs' ends.
        positions: By partition, the first source offset that is not folded.

    Raises:
        LaneError: What it must have written first is not known to be durable.
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
    """Publish derived records of some partitions, one after the other.

    Args:
        topic: Where they go.
        records: By partition; made when their turn comes.
        writer: Open.
        next_offsets: By partition, the first source offset that is not durable.
        pacer: Lets session-starts go first.

    Raises:
        LaneError: They are not known to be durable; the worker must restart.
    """
    for partition, values in records:
        await pacer.turn()
        await writer.publish(FoldedBatch(partition, {}, (), next_offsets[partition], derived={topic: values}))
