"""Start of a partition: an explicit source position, checked against the log, and the origin record."""

from collections.abc import Collection

from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin
from sidestream.streams.listens.restore.source_check import REBASE
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.waiting import run_in_thread

SKIP_LOST = (
    "nothing was folded or changed; to go on without them, stop all workers of the group, run "
    "`sidestream state skip-lost`, then start the workers again"
)
# The broker holds a fetch until this much is available or the batch time is over: one wake-up per batch, not one
# per listen.
FETCH_MIN_BYTES = 65_536
# A transaction costs about 1.4 ms of CPU regardless of its size, and a batch is one transaction in every partition: 16
# partitions with 1,000 listens per second in total took 26 % of a core with batches of 100 ms.
PARTITION_MS = 12.5


def fetch_wait_ms(settings: LaneSettings, num_owned: int) -> int:
    """Return how long a broker collects listens for a worker that owns so many partitions."""
    return max(settings.batch_ms, round(PARTITION_MS * num_owned))


def source_reader(
    clients: Clients, topic: str, settings: LaneSettings, partitions: Collection[int], num_owned: int
) -> PartitionReader:
    """Create the reader of the listens of a worker, which owns some of the partitions; it is not open."""
    return PartitionReader(
        clients,
        topic,
        partitions,
        max_partition_fetch_bytes=settings.fetch_bytes,
        fetch_min_bytes=FETCH_MIN_BYTES,
        fetch_max_wait_ms=fetch_wait_ms(settings, num_owned),
    )


async def start_position(source: PartitionReader, partition: int, table: PartitionTable, committed: int | None) -> int:
    """Find the first listen of a partition that is not folded yet.

    The larger of the committed offset and the position stored with the table is used: both mean that everything before
    is folded, and the commit lags behind the table.

    Args:
        source: Open reader of the listens.
        partition: Partition number.
        table: Its restored table.
        committed: The group's offset; None where it never committed.

    Returns:
        Its offset.

    Raises:
        LaneError: The source ends before the offset that was already folded: it is not the source of the states. Or
            listens were deleted before they were folded.
        BrokerError: Kafka does not answer.
    """
    begin, end = await source.bounds(partition)
    stored = table.positions.source_next
    wanted = max(committed or 0, stored, 0)
    where = f"{source.topic}/{partition}"
    if wanted > end:
        msg = (
            f"{where}: source topic recreated or truncated: expected it to reach offset {wanted}, before which all is "
            f"folded, got an end of {end}; its first listens would be taken for duplicates; {REBASE}"
        )
        raise LaneError(msg)
    if wanted < begin and (committed is not None or stored >= 0):
        msg = f"{where}: listens {wanted} to {begin - 1} were deleted by retention before they were folded; {SKIP_LOST}"
        raise LaneError(msg)
    return max(wanted, begin)


async def write_origin(
    writer: ChangelogWriter, partition: int, table: PartitionTable, position: int, origin: Origin
) -> None:
    """Write the origin record of a partition before its first listen is folded.

    Args:
        writer: Open writer that knows the end of the changelog.
        partition: Partition number.
        table: Its restored table.
        position: First source offset that is not folded.
        origin: The record.

    Raises:
        LaneError: The record is not known to be durable.
    """
    values = {ORIGIN_KEY: origin.to_bytes()}
    offset = await writer.publish(FoldedBatch(partition, values, (), position))
    changelog_offset = table.positions.changelog_offset if offset is None else offset
    await run_in_thread(table.write, values, Positions(changelog_offset, position))
