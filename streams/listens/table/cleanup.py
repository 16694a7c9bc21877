"""Which local databases are deleted because their partitions have left this worker. Pure: no I/O but a look at names.

A partition that moves to another worker leaves its database behind, with the states of its users, and no later erasure
reaches it. It is kept for a while, since partitions often come back and the restore is then short, and deleted after
`table_cleanup_s`. The time counts from when this process first saw it unused: a worker that was away for days gets its
partitions back before anything is deleted.

Source: Kafka Streams, `state.cleanup.delay.ms`.
"""

import re
from collections.abc import Callable, Collection
from pathlib import Path

from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.database import DISCARDED

_DATABASE = re.compile(rf"(\d+)\.db({re.escape(DISCARDED)})?")


class TableCleanup:
    """The databases below one worker's folder, and since when each is unused.

    Args:
        folder: Parent folder of the databases: `TOPIC/PARTITION.db`.
        topic: Source topic whose partitions may be in use; databases of other topics, from earlier settings, are not.
        settings: How long unused databases are kept.
        clock: Monotonic seconds.
    """

    def __init__(self, folder: Path, topic: str, settings: LaneSettings, clock: Callable[[], float]) -> None:
        self._folder, self._topic = folder, topic
        self._keep_s, self._clock = settings.table_cleanup_s, clock
        self._unused_since_s: dict[Path, float] = {}

    def due(self, in_use: Collection[int] | None) -> list[Path]:
        """Note which databases are unused now.

        Args:
            in_use: Partitions that this worker owns, or holds as a standby, ready or not; None while that is not known.

        Returns:
            Databases that have been unused for long enough; `UserTable.remove` deletes one if it is not open.
        """
        if in_use is None:
            self._unused_since_s.clear()
            return []
        now_s = self._clock()
        unused = [path for path in local_tables(self._folder) if not self._is_used(path, in_use)]
        self._unused_since_s = {path: self._unused_since_s.get(path, now_s) for path in unused}
        return [path for path, since_s in self._unused_since_s.items() if now_s - since_s >= self._keep_s]

    def _is_used(self, path: Path, in_use: Collection[int]) -> bool:
        return path.parent.name == self._topic and partition_of_table(path) in in_use


def local_tables(folder: Path) -> list[Path]:
    """List the databases below a worker's folder, of any topic, half-deleted ones included.

    Args:
        folder: Parent folder of the databases; may be missing.

    Returns:
        Their folders, sorted.
    """
    found = (path for path in folder.glob("*/*.db*") if _DATABASE.fullmatch(path.name))
    return sorted({path.with_name(path.name.removesuffix(DISCARDED)) for path in found})


def partition_of_table(path: Path) -> int:
    """Return the partition of a database by the name of its folder."""
    return int(path.name.removesuffix(".db"))
