"""Starting over: local tables are removed and rebuilt; with `everything`, the states themselves are.

It may be broken off anywhere. The group's offsets go first: whoever comes then folds listens again that are in the
states still, to no effect, and meets all erasures again. The other way round, listens would be missing from states that
are gone already.
"""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from sidestream.streams.listens.restore.origin import ORIGIN_KEY
from sidestream.streams.operate.states.offline import Offline, publish_all


@dataclass(frozen=True, slots=True)
class ResetReport:
    """What a reset removed: local tables, and values of the changelog."""

    tables: int
    values: int


async def reset_states(offline: Offline, partitions: Sequence[int], *, everything: bool = False) -> ResetReport:
    """Remove local tables, which the worker rebuilds from the changelog.

    Args:
        offline: The installation.
        partitions: Which.
        everything: Also empty their changelog and forget the group's source offsets, so that the states are folded
            anew from what the source still holds.

    Returns:
        What was removed.

    Raises:
        LaneError: A worker runs, or Kafka refuses.
    """
    await asyncio.to_thread(offline.require_idle)
    values = await _empty(offline, partitions) if everything else 0
    paths = [path for partition in partitions for path in offline.local_paths(partition)]
    for path in paths:
        await asyncio.to_thread(shutil.rmtree, path)
    return ResetReport(len(paths), values)


async def _empty(offline: Offline, partitions: Sequence[int]) -> int:
    await asyncio.to_thread(offline.forget_offsets, partitions)
    removed = 0
    writer = await offline.open_writer()
    try:
        for partition in partitions:
            # Records cannot be cut from a compacted topic: a tombstone for each key.
            found = await offline.changelog(partition)
            # The origin first: it tells tables on other machines that what they know of the source is void.
            await publish_all(writer, partition, dict.fromkeys((ORIGIN_KEY, *found)), 0)
            removed += len(found)
    finally:
        await writer.close()
    # The transactions of the tombstones committed the source's first offset.
    await asyncio.to_thread(offline.forget_offsets, partitions)
    return removed
