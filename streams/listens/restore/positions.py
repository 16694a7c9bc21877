"""Where an assignment begins: explicit positions, checked against the log, and the record of what it folds onto."""

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

# A fetch is held until this much waits or the batch time is over: one wake-up for each batch, not for each listen.
FETCH_MIN_BYTES = 65_536
# A transaction costs about 1.4 ms of CPU however little is in it, and a batch is one in every partition: 16 partitions
# of 1,000 listens a second in all took 26 % of a core with batches of 100 ms.
PARTITION_MS = 12.5


def source_consumer(clients: Clients, settings: LaneSettings, num_partitions: int) -> AIOKafkaConsumer:
    """Make the consumer of an assignment's listens.

    Args:
        clients: Factory of Kafka clients.
        settings: How much and for how long it collects.
        num_partitions: Of the assignment.

    Returns:
        The consumer, not started.
    """
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

    The later one of the committed offset and the position stored with the table is right: both mean that everything
    before is folded, and the commit lags behind the table.

    Args:
        source: Started consumer without a group.
        topic: Source topic.
        tables: Restored tables by partition.
        committed: The group's offsets by partition; none where it never committed.

    Returns:
        The positions by partition.

    Raises:
        LaneError: The source ends before what was already folded: it is not the topic that the state was made from.
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
                f"{topic}/{partition}: source topic recreated or cut: expected it to reach offset {wanted}, before "
                f"which all is folded, got an end of {ends[tp]}; its first listens would be taken for repeats; {REBASE}"
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
    """Record what the states are folded from, before the first is.

    Args:
        writer: Open, and told of the changelogs' ends.
        tables: Restored tables by partition.
        positions: By partition, the first source offset that is not folded.
        origins: The records to write; partitions that have theirs are left out.

    Raises:
        LaneError: It is not known to be durable.
    """
    for partition, origin in origins.items():
        values = {ORIGIN_KEY: origin.to_bytes()}
        offset = await writer.publish(FoldedBatch(partition, values, (), positions[partition]))
        stored = tables[partition].positions
        changelog_offset = stored.changelog_offset if offset is None else offset
        await asyncio.to_thread(tables[partition].write, values, Positions(changelog_offset, positions[partition]))
