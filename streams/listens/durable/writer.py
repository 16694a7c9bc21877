"""`ChangelogWriter` protocol: makes a folded batch durable in Kafka before anything else may rely on it.

Both implementations guarantee that when `publish` returns, the values are in the changelog and the malformed records in
their dead-letter topic. They differ in the source offset:

* idempotent (`idempotent`): it is committed later through the group; a crash in between replays listens, which the
  watermark in every value turns into no-ops. At least once, with idempotent folds.
* transactional (`transactions`): it is part of the same transaction, so `commits_source` is true. Exactly once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sidestream.streams.contracts.deadletters import DeadLetter


@dataclass(frozen=True, slots=True)
class FoldedBatch:
    """Changes of one batch of one partition; side offsets and derived records are by topic, for the same partition."""

    partition: int
    values: Mapping[bytes, bytes | None]
    dead_letters: Sequence[DeadLetter]
    next_offset: int
    side_offsets: Mapping[str, int] = field(default_factory=dict)
    derived: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)


class ChangelogWriter(Protocol):
    """Publishes folded batches."""

    commits_source: bool

    async def open(self, partitions: Collection[int]) -> None:
        """Prepare for these partitions, before any position is read; fences older writers if supported.

        Args:
            partitions: All partitions that this worker now owns.

        Raises:
            LaneError: The writer cannot write to them.
        """

    def set_changelog_ends(self, changelog_next: Mapping[int, int]) -> None:
        """Set the ends of the changelogs; called once after `open`, before the first batch.

        Args:
            changelog_next: Next free changelog offset by partition.
        """

    async def publish(self, batch: FoldedBatch) -> int | None:
        """Make one batch durable.

        Args:
            batch: What the batch changes.

        Returns:
            Offset of the last changelog record that was written; None if there was nothing to write.

        Raises:
            LaneError: The batch is not known to be durable; the worker must restart.
        """

    async def close(self) -> None:
        """Stop writing for all partitions."""
