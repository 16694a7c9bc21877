"""`ChangelogWriter` protocol: makes a folded batch durable in Kafka before anything else may rely on it.

Both implementations guarantee that when `publish` returns, the values are in the changelog and the malformed records in
their dead-letter topic. They differ in the source offset:

* idempotent (`idempotent`): it is committed later through the group; a crash in between replays listens, which the
  watermark in every value turns into no-ops. At least once, with idempotent folds.
* transactional (`transactions`): it is part of the same transaction, so `commits_source` is true. Exactly once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sidestream.streams.contracts.deadletters import DeadLetter


class DerivedRecord(NamedTuple):
    """Record of another topic that is durable together with the batch; see `derived`."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class FoldedBatch:
    """Changes of one batch of one partition; side offsets are by topic, for the same partition."""

    partition: int
    values: Mapping[bytes, bytes | None]
    dead_letters: Sequence[DeadLetter]
    next_offset: int
    side_offsets: Mapping[str, int] = field(default_factory=dict)
    derived: Sequence[DerivedRecord] = ()


class ChangelogWriter(Protocol):
    """Publishes folded batches; each partition is opened and closed by itself."""

    commits_source: bool

    async def open(self, partition: int) -> None:
        """Prepare for a partition, before any position of it is read; fences older writers if supported.

        A partition that is open is opened again, which ends what is in flight for it.

        Args:
            partition: A partition that this worker owns.

        Raises:
            LaneInterrupted: Kafka does not answer.
            LaneError: The writer cannot write to it.
        """

    def set_changelog_end(self, partition: int, next_offset: int) -> None:
        """Set the next free changelog offset of a partition; called after `open`, before its first batch."""

    async def publish(self, batch: FoldedBatch) -> int | None:
        """Make one batch durable.

        Args:
            batch: What the batch changes.

        Returns:
            Offset of the last changelog record that was written; None if there was nothing to write.

        Raises:
            LaneInterrupted: The batch is not known to be durable; the partition must be opened again.
            LaneFenced: Another writer has opened the partition, or the broker has given up this one.
            LaneError: The batch cannot be made durable.
        """

    async def close(self, partition: int) -> None:
        """Stop writing for a partition; idempotent."""
