"""Local tables on this machine, and those whose worker does not run: nobody else deletes them."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sidestream.streams.listens.table.cleanup import local_tables, partition_of_table
from sidestream.streams.listens.table.database import discard
from sidestream.streams.operate.states.offline import OfflineStates
from sidestream.streams.worker.folder import TABLES, idle_folder


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One local table.

    Attributes:
        worker: Name of its worker's folder.
        topic: Source topic.
        partition: Partition of the topic.
        is_running: Whether the worker runs.
        size_bytes: Size of its files.
        changed_at: When one of them was last written, UTC epoch ms.
        is_deleted: Whether it has just been deleted.
    """

    worker: str
    topic: str
    partition: int
    is_running: bool
    size_bytes: int
    changed_at: int
    is_deleted: bool = False


def list_tables(worker_folders: Sequence[Path], *, delete_idle: bool = False) -> list[TableFacts]:
    """List the local tables of workers.

    Args:
        worker_folders: Folders of the workers, existing or not.
        delete_idle: Delete those of workers that do not run; a worker that is started again restores what it needs.

    Returns:
        The tables by worker and partition, also those that were deleted.

    Raises:
        LaneError: A table is open, although no worker runs in its folder.
        OSError: A table cannot be deleted.
    """
    found = []
    for folder in worker_folders:
        if not folder.is_dir():
            continue
        with idle_folder(folder) as is_idle:
            for path in sorted(local_tables(folder / TABLES), key=lambda path: (path.parent, len(path.name), path)):
                found.append(_facts(folder, path, is_running=not is_idle, is_deleted=is_idle and delete_idle))
                if is_idle and delete_idle:
                    discard(path)
    return found


def other_tables(offline: OfflineStates) -> list[Path]:
    """Return the local tables that no partition of the group uses: of other topics, or of partitions that are gone."""
    own = {path for partition in range(offline.identity.num_partitions) for path in offline.local_paths(partition)}
    return [
        path for folder in (offline.folder, *offline.more_folders) for path in local_tables(folder) if path not in own
    ]


def _facts(folder: Path, path: Path, *, is_running: bool, is_deleted: bool) -> TableFacts:
    size_bytes = changed_at = 0
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a worker that runs deletes files all the time
            status = file.stat()
            size_bytes += status.st_size
            changed_at = max(changed_at, status.st_mtime_ns // 1_000_000)
    topic, partition = path.parent.name, partition_of_table(path)
    return TableFacts(folder.name, topic, partition, is_running, size_bytes, changed_at, is_deleted)
