"""Reading topics to their end on the event loop, without a consumer group: `read_to_end`, over a `Follower`."""

from collections.abc import AsyncGenerator, Collection, Mapping

from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.pace import FULL_SPEED, Pace
from sidestream.streams.kafka.spans import NO_PROGRESS_S, Batch, Bounds, Place


async def read_to_end(
    clients: Clients,
    topic: str,
    partitions: Collection[int],
    *,
    start: Mapping[int, int] | None = None,
    ends: Mapping[int, int] | None = None,
    read_committed: bool = True,
    max_records: int | None = None,
    pace: Pace = FULL_SPEED,
    no_progress_s: float = NO_PROGRESS_S,
) -> AsyncGenerator[Batch, None]:
    """Read all that partitions hold now, and close; cancelling closes, too.

    Who leaves the loop early closes the generator at once with `contextlib.aclosing`.

    Args:
        clients: The Kafka.
        topic: Topic.
        partitions: Which partitions; none reads nothing.
        start: First offsets by partition; others are read from their beginning.
        ends: Offsets to stop before, by partition; none for the ends of now.
        read_committed: Hide records of open and aborted transactions.
        max_records: Limit of one batch.
        pace: Rest after each batch.
        no_progress_s: Longest wait without progress.

    Yields:
        Batches, by partition in offset order.

    Raises:
        TopicError: The topic or a partition does not exist, or was recreated or truncated.
        BrokerError: Kafka cannot be read, or nothing has come for too long.
    """
    if not partitions:
        return
    follower = Follower(
        clients,
        {topic: partitions},
        start={Place(topic, number): position for number, position in (start or {}).items()},
        read_committed=read_committed,
        restarts=False,
        no_progress_s=no_progress_s,
    )
    async with follower:
        if ends is not None:
            follower.aim({Place(topic, number): end for number, end in ends.items()})
        async for batch in follower.to_end(max_records=max_records, pace=pace):
            yield batch


async def ask_bounds(clients: Clients, topic: str, partitions: Collection[int]) -> dict[int, Bounds]:
    """Ask where partitions begin and end now.

    Args:
        clients: The Kafka.
        topic: Topic.
        partitions: Which partitions.

    Returns:
        First and end offset by partition; ends are last stable offsets.

    Raises:
        TopicError: The topic or a partition does not exist.
        BrokerError: Kafka does not say.
    """
    async with Follower(clients, {topic: partitions}, start=None) as follower:
        return {place.partition: bounds for place, bounds in follower.bounds.items()}
