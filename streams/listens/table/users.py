"""All databases of one worker: opened on assignment, closed on revoke, begun anew where they are damaged."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rocksdict import Cache

from sidestream.streams.errors import TableDamaged
from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.database import discard
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.listens.table.partition import PartitionTable

logger = logging.getLogger(__name__)


class UserTable:
    """The databases of all partitions that this worker owns.

    Args:
        folder: Where they live, one subfolder each.
        identity: What they are made from.
        settings: Sizes.
        clock: UTC epoch ms; the machine's by default.
    """

    def __init__(
        self,
        folder: Path,
        identity: TableIdentity,
        settings: TableSettings,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self._settings, self._clock = settings, clock
        self._cache = Cache(settings.block_cache_bytes)
        self._open: dict[int, PartitionTable] = {}

    def open(self, partitions: Sequence[int]) -> dict[int, PartitionTable]:
        """Open databases; blocking, 10 to 20 ms each. Damaged ones are thrown away and begun anew.

        Args:
            partitions: Those that this worker now owns.

        Returns:
            Their databases.

        Raises:
            LaneError: One is locked, cannot be opened, or is made from something else.
        """
        for partition in partitions:
            if partition not in self._open:
                path = self.folder / self.identity.source_topic / f"{partition}.db"
                self._open[partition] = self._open_or_begin_anew(path, self.identity.of(partition))
        return {partition: self._open[partition] for partition in partitions}

    def get(self, partition: int) -> PartitionTable | None:
        """Give the database of a partition.

        Args:
            partition: Which.

        Returns:
            The database, or none where it is not open.
        """
        return self._open.get(partition)

    def close(self) -> None:
        """Close all databases, side by side; blocking, about 20 ms each, but 1 s each where the disk is full."""
        tables, self._open = list(self._open.values()), {}
        with ThreadPoolExecutor(max(1, len(tables)), thread_name_prefix="table") as closers:
            list(closers.map(PartitionTable.close, tables))

    def _open_or_begin_anew(self, path: Path, identity: bytes) -> PartitionTable:
        try:
            return PartitionTable(path, identity, self._settings, self._cache, self._clock)
        except TableDamaged as exc:
            logger.warning("%s: this one, now", exc)
        discard(path)
        table = PartitionTable(path, identity, self._settings, self._cache, self._clock)
        table.was_damaged = True
        return table
