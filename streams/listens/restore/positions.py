"""Start of an assignment: explicit source positions, checked against the log, and the origin records."""

import asyncio
import logging
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin
from sidestream.streams.listens.restore.source_check import REBASE
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable

logger = logging.getLogger(__name__)

# The broker holds a fetch until this much is available or the batch time is over: one wake-up per batch, not one
# per listen.
FETCH_MIN_BYTES = 65_536
# A transaction costs about 1.4 ms of CPU regardless of its size, and a batch is one transaction in every partition: 16
# partitions with 1,000 listens per second in total took 26 % of a core with batches of 100 ms.
PARTITION_MS = 12.5


def source_consumer(clients: Clients, settings: LaneSettings, num_partitions: int) -> AIOKafkaConsumer:
    """Create the consumer for the listens of an assignment; it is not started."""
    return clients.async_consumer(
        auto_offset_reset="none",
        max_partition_fetch_bytes=settings.fetch_bytes,
        fetch_min_bytes=FETCH_MIN_BYTES,
        fetch_max_wait_ms=max(settings.batch_ms, round(PARTITION_MS * num_partitions)),
    )


async def start_positions(
    source: AIOKafkaConsumer, topic: str, tables: Mapping[int, PartitionTable], committed: Mapping[int, int | None]
) -> dict[int, int]:
    """Assign partitions to a consumer and seek each to its first listen that is not folded yet.

    The larger of the committed offset and the position stored with the table is used: both mean that everything before
    is folded, and the commit lags behind the table.

    Args:
        source: Started consumer without a group.
        topic: Source topic.
        tables: Restored tables by partition.
        committed: The group's offsets by partition; None where it never committed.

    Returns:
        The positions by partition.

    Raises:
        LaneError: The source ends before the offset that was already folded: it is not the source of the states.
    """
    tps = {partition: TopicPartition(topic, partition) for partition in tables}
    source.assign(list(tps.values()))
    begins = await source.beginning_offsets(list(tps.values()))
    ends = await source.end_offsets(list(tps.values()))
    positions: dict[int, int] = {}
    for partition, tp in tps.items():
        wanted = max(committed[partition] or 0, tables[partition].positions.source_next, 0)
        if wanted > ends[tp]:
            msg = (
                f"{topic}/{partition}: source topic recreated or truncated: expected it to reach offset {wanted}, "
                f"before which all is folded, got an end of {ends[tp]}; its first listens would be taken for "
                f"duplicates; {REBASE}"
            )
            raise LaneError(msg)
        if wanted < begins[tp] and (committed[partition] is not None or tables[partition].positions.source_next >= 0):
            logger.warning(
                "%s/%d: listens %d to %d were deleted by retention before they were folded",
                topic,
                partition,
                wanted,
                begins[tp] - 1,
            )
        positions[partition] = max(wanted, begins[tp])
        source.seek(tp, positions[partition])
    return positions


async def write_origins(
    writer: ChangelogWriter,
    tables: Mapping[int, PartitionTable],
    positions: Mapping[int, int],
    origins: Mapping[int, Origin],
) -> None:
    """Write origin records before the first listen is folded.

    Args:
        writer: Open writer that knows the ends of the changelogs.
        tables: Restored tables by partition.
        positions: First source offset that is not folded, by partition.
        origins: Records to write; without the partitions that already have one.

    Raises:
        LaneError: A record is not known to be durable.
    """
    for partition, origin in origins.items():
        values = {ORIGIN_KEY: origin.to_bytes()}
        offset = await writer.publish(FoldedBatch(partition, values, (), positions[partition]))
        stored = tables[partition].positions
        changelog_offset = stored.changelog_offset if offset is None else offset
        await asyncio.to_thread(tables[partition].write, values, Positions(changelog_offset, positions[partition]))
