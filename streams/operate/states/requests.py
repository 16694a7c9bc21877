"""Requests to erase users that no worker has applied, carried to where their users have moved.

All that waits in a partition is published again, in its order and to the partition of its key, and the group's offset
goes past the old records: left where they were, they would be applied to users who are not there. Repeated requests do
nothing, so this may be broken off anywhere and run again.
"""

import asyncio
from collections.abc import Mapping

from sidestream.streams.contracts.deadletters import DeadLetter
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.listens.restore.source_check import partition_of
from sidestream.streams.operate.states.offline import Offline


async def carry_requests(
    offline: Offline, writer: ChangelogWriter, partition: int, source_nexts: Mapping[int, int]
) -> None:
    """Carry the requests of one partition that nobody has applied.

    Args:
        offline: The installation.
        writer: Open writer.
        partition: Where they are.
        source_nexts: By partition, the source offset that goes with what is published; those that are missing are done,
            requests included.

    Raises:
        LaneError: They are not known to be durable, or a worker was started meanwhile.
    """
    topic = offline.topics.user_erasures.name
    committed = await asyncio.to_thread(offline.committed, topic)
    by_home: dict[int, list[DeadLetter]] = {}
    next_offset = None
    async for record in offline.read(topic, partition, committed.get(partition, 0)):
        home = partition_of(record.key, offline.identity.num_partitions) if record.key else partition
        # Not a dead letter, but like one a record with key, headers and perhaps no value.
        by_home.setdefault(home, []).append(DeadLetter(topic, record.key, record.value, list(record.headers)))
        next_offset = record.offset + 1
    if next_offset is None or by_home.keys() == {partition}:
        return
    staying = by_home.pop(partition, [])
    for home, moving in by_home.items():
        if home in source_nexts:
            await writer.publish(FoldedBatch(home, {}, moving, source_nexts[home]))
    passed = {topic: next_offset}
    await writer.publish(FoldedBatch(partition, {}, staying, source_nexts[partition], side_offsets=passed))
    if not writer.commits_source:
        await asyncio.to_thread(offline.commit, {partition: next_offset}, topic)
