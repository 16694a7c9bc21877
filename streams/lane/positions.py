"""Where the source consumer of an assignment begins: explicit positions, checked against the log."""

import logging
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.errors import LaneError
from streams.lane.table import PartitionTable

logger = logging.getLogger(__name__)


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
                f"{topic}/{partition}: listens before offset {wanted} are folded already, but the topic ends at "
                f"{ends[tp]}: it was recreated, and its first listens would be taken for repeats; give the new topic a "
                "new topics.prefix, or delete the changelog topic and this worker's data_dir to start with no state"
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
