"""Removes local tables, which are then rebuilt from the changelog; with `everything`, also the states themselves.

A reset may be interrupted anywhere. The group's offsets are deleted first: a worker that starts after that folds
listens again that are still in the states, without effect, and reads all erasures again. In the opposite order, listens
would be missing from states that are already deleted.
"""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from sidestream.streams.listens.restore.origin import ORIGIN_KEY
from sidestream.streams.operate.states.offline import OfflineStates, publish_all


@dataclass(frozen=True, slots=True)
class ResetReport:
    """The result of a reset: number of local tables and of changelog values removed."""

    tables: int
    values: int


async def reset_states(offline: OfflineStates, partitions: Sequence[int], *, everything: bool = False) -> ResetReport:
    """Remove local tables, which the worker rebuilds from the changelog.

    Args:
        offline: The states.
        partitions: Partitions to reset.
        everything: Also delete all values of their changelog and the group's source offsets, so that the states are
            folded again from the listens that the source still has.

    Returns:
        The report.

    Raises:
        LaneError: A worker is running, or Kafka refuses a change.
    """
    await asyncio.to_thread(offline.require_idle)
    values = await _empty(offline, partitions) if everything else 0
    paths = [path for partition in partitions for path in offline.local_paths(partition)]
    for path in paths:
        await asyncio.to_thread(shutil.rmtree, path)
    return ResetReport(len(paths), values)


async def _empty(offline: OfflineStates, partitions: Sequence[int]) -> int:
    await asyncio.to_thread(offline.delete_offsets, partitions)
    removed = 0
    async with offline.writer() as writer:
        for partition in partitions:
            # Records of a compacted topic cannot be deleted directly: write a tombstone for each key.
            found = await offline.changelog(partition)
            # The origin first: without it, tables on other machines are no longer valid for the source.
            await publish_all(writer, partition, dict.fromkeys((ORIGIN_KEY, *found)), 0)
            removed += len(found)
    # The transactions of the tombstones committed the source's first offset.
    await asyncio.to_thread(offline.delete_offsets, partitions)
    return removed
