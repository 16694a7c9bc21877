"""Decision about listens that retention deleted before they were folded: go on without them.

A worker stops at such a gap (`listens/restore/positions`), because the users' states would silently miss what they
heard. This moves the group's offsets to the first listens that still exist, and states the gap.
"""

import asyncio
from dataclasses import dataclass

from sidestream.streams.operate.states.offline import OfflineStates


@dataclass(frozen=True, slots=True)
class LostListens:
    """Listens of one partition that are in no state: offsets from `first` to before `end`."""

    partition: int
    first: int
    end: int

    @property
    def count(self) -> int:
        """Number of offsets."""
        return self.end - self.first


async def skip_lost(offline: OfflineStates) -> list[LostListens]:
    """Go on after listens that were deleted before they were folded.

    Args:
        offline: The states.

    Returns:
        The gaps; empty if all listens that are not folded still exist.

    Raises:
        LaneError: A worker is running, or Kafka refuses to change the offsets.
    """
    await asyncio.to_thread(offline.require_idle)
    committed = await asyncio.to_thread(offline.committed)
    bounds = await offline.bounds(offline.identity.source_topic)
    lost = [
        LostListens(partition, committed[partition], begin)
        for partition, (begin, _) in sorted(bounds.items())
        if committed.get(partition, begin) < begin
    ]
    # A partition without an offset may still have a table whose position is in the gap.
    offsets = {p: begin for p, (begin, _) in bounds.items() if begin > committed.get(p, 0)}
    if offsets:
        await asyncio.to_thread(offline.commit, offsets)
    return lost
