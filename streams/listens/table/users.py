"""User-state tables of one worker: opened on assignment, closed on revocation, rebuilt if damaged, deleted unused."""

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rocksdict import Cache

from sidestream.streams.errors import TableDamaged
from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.database import discard, discard_leftovers
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.listens.table.partition import PartitionTable

logger = logging.getLogger(__name__)


class UserTable:
    """Databases of all partitions that this worker owns.

    Args:
        folder: Parent folder, with one subfolder per database.
        identity: Topics that they are built from.
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
        # Tables are opened, closed and deleted in threads; a table that is open must never be deleted.
        self._changing = threading.Lock()

    def open(self, partitions: Sequence[int]) -> dict[int, PartitionTable]:
        """Open databases; blocking, 10 to 20 ms each. Damaged ones are discarded and replaced by empty ones.

        Args:
            partitions: Partitions that this worker now owns.

        Returns:
            Their databases.

        Raises:
            LaneError: A database is locked, cannot be opened, or has another identity.
        """
        with self._changing:
            for partition in partitions:
                if partition not in self._open:
                    path = self.folder / self.identity.source_topic / f"{partition}.db"
                    self._open[partition] = self._open_or_replace(path, self.identity.of(partition))
            return {partition: self._open[partition] for partition in partitions}

    def get(self, partition: int) -> PartitionTable | None:
        """Return the database of a partition; None if it is not open."""
        return self._open.get(partition)

    def opened(self) -> list[PartitionTable]:
        """Return the open databases; another thread may close one at any time."""
        with self._changing:
            return list(self._open.values())

    def close(self, partitions: Collection[int] | None = None) -> None:
        """Close databases concurrently; blocking, about 20 ms each, but 1 s each if the disk is full.

        Args:
            partitions: Those to close, if they are open; None for all.
        """
        with self._changing:
            closing = list(self._open) if partitions is None else [p for p in partitions if p in self._open]
            tables = [self._open.pop(partition) for partition in closing]
            with ThreadPoolExecutor(max(1, len(tables)), thread_name_prefix="table") as closers:
                list(closers.map(PartitionTable.close, tables))

    def remove(self, path: Path) -> bool:
        """Delete a database of this worker's folder; blocking.

        Args:
            path: Its folder.

        Returns:
            Whether it was deleted; False if it is open here.

        Raises:
            LaneError: It is open in another process.
            OSError: It cannot be deleted.
        """
        with self._changing:
            if any(table.path == path for table in self._open.values()):
                return False
            discard(path)
            return True

    def _open_or_replace(self, path: Path, identity: bytes) -> PartitionTable:
        discard_leftovers(path)
        try:
            return PartitionTable(path, identity, self._settings, self._cache, self._clock)
        except TableDamaged as exc:
            logger.warning("%s: rebuilding it now", exc)
        discard(path)
        table = PartitionTable(path, identity, self._settings, self._cache, self._clock)
        table.was_damaged = True
        return table
