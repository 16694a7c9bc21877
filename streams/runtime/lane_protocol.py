"""Protocols between Faust and the lanes: `PartitionLane` and `LaneHost`."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol


class HeldTables(NamedTuple):
    """Local tables of a lane, for the group's leader.

    Attributes:
        current: Partitions, owned ones too, whose table is current.
        on_disk: Partitions that have a table, current or not.
    """

    current: frozenset[int]
    on_disk: frozenset[int]


class PartitionLane(Protocol):
    """Processing of the partitions of one topic that Faust assigned, outside Faust's streams."""

    @property
    def topic(self) -> str:
        """Topic whose partitions it processes."""

    async def on_assigned(self, partitions: Collection[int]) -> None:
        """Take over partitions, after a rebalance; must return at once and start its work in the background.

        Args:
            partitions: All partitions that this worker now owns, not only new ones; may be empty. Those that it owned
                before, and that were not revoked since, go on undisturbed; the others that it owned are given up.
        """

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Stop all work, finish or drop what is in flight, and keep the resulting `committable` unchanged.

        Called at the end, where the group has removed this worker, and before every rebalance if nothing fences this
        worker: `on_assigned` is then called with the new set. The rebalance waits for this call, so it must return
        within half the session timeout.

        Args:
            partitions: All partitions that this worker owned.

        Raises:
            LaneError: The work in flight did not finish in time; the worker must exit.
        """

    def committable(self) -> Mapping[int, int]:
        """Next source offset by partition, everything before it durably processed; Faust commits these."""

    def held_tables(self) -> HeldTables | None:
        """Return the local tables; None if it keeps none for other workers' partitions. Called from any thread."""


class LaneHost(Protocol):
    """Group membership of a lane."""

    @property
    def group_id(self) -> str:
        """Name of the consumer group."""

    async def committed(self, topic: str, partitions: Collection[int]) -> dict[int, int | None]:
        """Read the group's committed offsets from the broker; None where the group never committed."""

    async def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets for the group at once; `committable` is what is committed from time to time.

        Args:
            topic: A topic of the group.
            offsets: Next offset by partition; of partitions that this worker owns.

        Raises:
            KafkaError: The offsets are not committed: Kafka does not answer, or the group has rebalanced.
        """

    def standbys(self, topic: str) -> frozenset[int]:
        """Return the partitions of a topic whose state this worker should keep current for their owners' failure."""

    async def confirm_member(self) -> bool:
        """Ask the group whether this worker is still a member; waits for its coordinator and the end of a rebalance."""

    async def crash(self, reason: BaseException) -> None:
        """Stop the worker with a non-zero exit code; `reason` is logged."""
