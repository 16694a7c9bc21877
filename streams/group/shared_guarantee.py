"""Workers of one group keep one promise: those that join with another `lane.guarantee` are refused by the broker.

A worker that folds at least once is not fenced by transactions: paused past its session, it may still write to the
changelog when its heir, who folds exactly once, has restored from it, and the heir would not notice. So the promise is
part of the name of the assignment protocol, and a broker takes a member only if all members know a protocol in common.
Once all workers have left, the group may begin with either promise: states and offsets are the same in both.

Source: KIP-62 and the JoinGroup API (error 23, INCONSISTENT_GROUP_PROTOCOL).
"""

from aiokafka.errors import InconsistentGroupProtocolError
from faust.assignor.partition_assignor import PartitionAssignor

from sidestream.streams.errors import LaneError
from sidestream.streams.listens.durable.guarantee import Guarantee


class ExactlyOnceAssignor(PartitionAssignor):
    """Faust's assignor, under the name that Faust gives it."""


class AtLeastOnceAssignor(PartitionAssignor):
    """The same assignor under another name."""

    @property
    def name(self) -> str:
        """Name of the protocol."""
        return f"{super().name}-at-least-once"


def assignor_of(guarantee: Guarantee) -> type[PartitionAssignor]:
    """Choose the assignor of a promise.

    Args:
        guarantee: What the lane keeps.

    Returns:
        Faust's assignor, under the promise's name.
    """
    return AtLeastOnceAssignor if guarantee == "at_least_once" else ExactlyOnceAssignor


def refusal(group_id: str, assignor: str, error: BaseException | None) -> LaneError | None:
    """Say why the group refuses a worker.

    Args:
        group_id: Consumer group.
        assignor: Name of this worker's protocol.
        error: What joining ended with; none while it has not.

    Returns:
        The reason; none for anything else.
    """
    if not isinstance(error, InconsistentGroupProtocolError):
        return None
    msg = (
        f"group {group_id}: expected workers with the lane.guarantee of this one (protocol {assignor}), got some that "
        "keep another promise, or members that are no workers; stop all of them, then start all with the same setting"
    )
    return LaneError(msg)
