"""One delivery guarantee per consumer group: the broker rejects workers with another `lane.guarantee`.

A worker that folds at least once is not fenced by transactions: after a pause longer than its session, it may still
write to the changelog when the partition's new owner, which folds exactly once, has already restored from it and would
not notice. So the guarantee is part of the name of the assignment protocol, and a broker accepts a member only if all
members have a protocol in common. Once all workers have left, the group may start with either guarantee: states and
offsets are the same in both.

Source: KIP-62 and the JoinGroup API (error 23, INCONSISTENT_GROUP_PROTOCOL).
"""

from aiokafka.errors import InconsistentGroupProtocolError

from sidestream.streams.errors import LaneError
from sidestream.streams.group.assignor import LaneAssignor
from sidestream.streams.listens.durable.guarantee import Guarantee


class ExactlyOnceAssignor(LaneAssignor):
    """The assignor, under the name of Faust's own."""


class AtLeastOnceAssignor(LaneAssignor):
    """The same assignor under another name."""

    @property
    def name(self) -> str:
        """Name of the protocol."""
        return f"{super().name}-at-least-once"


def assignor_for(guarantee: Guarantee) -> type[LaneAssignor]:
    """Return the assignor under the name of a guarantee."""
    return AtLeastOnceAssignor if guarantee == "at_least_once" else ExactlyOnceAssignor


def rejection(group_id: str, assignor: str, error: BaseException | None) -> LaneError | None:
    """Return the error for a worker that the group rejects.

    Args:
        group_id: Consumer group.
        assignor: Name of this worker's protocol.
        error: Error from joining the group; None if there was none.

    Returns:
        The error; None if joining did not fail because of the guarantee.
    """
    if not isinstance(error, InconsistentGroupProtocolError):
        return None
    msg = (
        f"group {group_id}: expected workers with the lane.guarantee of this one (protocol {assignor}), got some with "
        "another guarantee, or members that are not workers; stop all of them, then start all with the same setting"
    )
    return LaneError(msg)
