"""Asyncio reads of topics to their end, without a consumer group: `read_to_end`, based on `Follower`."""

from collections.abc import AsyncGenerator, Collection, Mapping

from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.pace import FULL_SPEED, Pace
from sidestream.streams.kafka.read_rules import NO_PROGRESS_S, Batch, Bounds, Place


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
    intact: bool = False,
) -> AsyncGenerator[Batch, None]:
    """Read everything that the partitions hold now, then close; cancelling closes as well.

    To leave the loop early, wrap the generator in `contextlib.aclosing`, which closes it at once.

    Args:
        clients: Kafka client factory.
        topic: Topic.
        partitions: Partition numbers; empty reads nothing.
        start: First offsets by partition; other partitions are read from their beginning.
        ends: Offsets to stop before, by partition; None for the current ends.
        read_committed: Hide records of open and aborted transactions.
        max_records: Limit of one batch.
        pace: Rest after each batch.
        no_progress_s: How long to wait without progress before failing.
        intact: Whether a record that cannot be read raises `TopicError`; otherwise its value is `Unreadable`.

    Yields:
        Batches, in offset order within a partition.

    Raises:
        TopicError: The topic or a partition does not exist, or was recreated or truncated; or a record cannot be read,
            and records must be intact.
        BrokerError: Kafka cannot be read, or there was no progress for too long.
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
        intact=intact,
    )
    async with follower:
        if ends is not None:
            follower.set_targets({Place(topic, number): end for number, end in ends.items()})
        async for batch in follower.to_end(max_records=max_records, pace=pace):
            yield batch


async def fetch_bounds(clients: Clients, topic: str, partitions: Collection[int]) -> dict[int, Bounds]:
    """Fetch the current first and end offsets of partitions.

    Args:
        clients: Kafka client factory.
        topic: Topic.


        partitions: Partition numbers.

    Returns:
        First and end offset by partition; an end is the last stable offset.

    Raises:
        TopicError: The topic or a partition does not exist.
        BrokerError: Kafka does not answer.
    """
    async with Follower(clients, {topic: partitions}, start=None) as follower:
        return {place.partition: bounds for place, bounds in follower.bounds.items()}
