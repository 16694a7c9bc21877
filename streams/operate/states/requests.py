"""Carries pending erasure requests over to the partitions that their users have moved to.

All pending requests of a partition are published again, in their order and to the partition of their key, and the
group's offset moves past the old records: otherwise they would be applied in a partition without their users. Erasure
is idempotent, so this may be interrupted anywhere and run again.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from sidestream.streams.contracts.deadletters import DeadLetter, dead_letter
from sidestream.streams.contracts.decode import Reason
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import BadRecord
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.operate.states.offline import OfflineStates


async def carry_requests(
    offline: OfflineStates, writer: ChangelogWriter, partition: int, source_nexts: Mapping[int, int]
) -> None:
    """Carry the pending requests of one partition over.

    Args:
        offline: The states.
        writer: Open writer.
        partition: Partition of the requests.
        source_nexts: By partition, the source offset that is committed with the requests. A partition that is missing
            here is done, requests included.

    Raises:
        LaneError: The requests may not be durable, or a worker was started in the meantime.
    """
    topic = offline.topics.user_erasures.name
    committed = await asyncio.to_thread(offline.committed, topic)
    by_target: dict[int, list[DeadLetter]] = {}
    next_offset = None
    async for record in offline.read(topic, partition, committed.get(partition, 0)):
        target = offline.identity.partition_of(record.key) if record.key else partition
        by_target.setdefault(target, []).append(_carried(topic, record))
        next_offset = record.offset + 1
    if next_offset is None or by_target.keys() == {partition}:
        return
    staying = by_target.pop(partition, [])
    for target, moving in by_target.items():
        if target in source_nexts:
            await writer.publish(FoldedBatch(target, {}, moving, source_nexts[target]))
    passed = {topic: next_offset}
    await writer.publish(FoldedBatch(partition, {}, staying, source_nexts[partition], side_offsets=passed))
    if not writer.commits_source:
        await asyncio.to_thread(offline.commit, {partition: next_offset}, topic)


def _carried(topic: str, record: Any) -> DeadLetter:
    if isinstance(record.value, Unreadable):
        return dead_letter(record, BadRecord(Reason.UNREADABLE, record.value.why))
    # Not a dead letter, but like one it is a record with key, headers and possibly no value.
    return DeadLetter(topic, record.key, record.value, list(record.headers))
