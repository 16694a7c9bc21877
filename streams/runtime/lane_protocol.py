"""What a lane is to Faust, and what Faust is to a lane."""

from collections.abc import Collection, Mapping
from typing import Protocol


class PartitionLane(Protocol):
    """Work on the partitions of one topic that Faust assigned, done outside Faust's streams."""

    @property
    def topic(self) -> str:
        """Topic whose partitions it works on."""

    async def assigned(self, partitions: Collection[int]) -> None:
        """Take over partitions; called once a rebalance is done, must return at once and start work in the background.

        Args:
            partitions: All partitions that this worker now owns, not only new ones; may be empty.
        """

    async def revoked(self, partitions: Collection[int]) -> None:
        """Stop all work, finish or drop what is in flight, and keep `committable` as it then is.

        Faust rebalances eagerly: all partitions are revoked, then `assigned` names the new set. The rebalance waits
        for this call, so it must end within half the session timeout.

        Args:
            partitions: All partitions that this worker owned.

        Raises:
            LaneError: What was in flight cannot be ended in time; the worker must die.
        """

    def committable(self) -> Mapping[int, int]:
        """Next source offset by partition, everything before it durably done; Faust commits these."""


class LaneHost(Protocol):
    """The group membership that a lane lives in."""

    @property
    def group_id(self) -> str:
        """Name of the consumer group."""

    async def committed(self, topic: str, partitions: Collection[int]) -> dict[int, int | None]:
        """Read the group's committed offsets from the broker.

        Args:
            topic: Topic of the lane.
            partitions: Which.

        Returns:
            Next offset by partition; none where the group never committed.
        """

    async def crash(self, reason: BaseException) -> None:
        """End the worker with a non-zero exit code.

        Args:
            reason: Why, in one line.
        """
