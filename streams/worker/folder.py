"""The local folder of one worker; each of several workers with the same data folder has its own.

The first one is `worker/APP_ID`, the others `worker/APP_ID@2` and so on. A lock file shows which are in use: a worker
takes the first free one at its start, so that a restarted worker finds its tables again.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sidestream.streams.errors import SettingsError
from sidestream.streams.settings import Settings

MAX_INSTANCES = 1_000
# Folder of the local tables inside a worker's folder.
TABLES = "user-state"


def worker_folder(settings: Settings, instance: int | None = None) -> Path:
    """Return the folder of a worker.

    Args:
        settings: Data folder, group and instance.
        instance: Number of the worker among those with this data folder; by default that in the settings, else 1.

    Returns:
        The folder; it may not exist yet.
    """
    number = instance or settings.worker.instance or 1
    # Group names cannot contain an @.
    suffix = "" if number == 1 else f"@{number}"
    return settings.data_dir / "worker" / f"{settings.worker.app_id}{suffix}"


def worker_folders(settings: Settings) -> list[Path]:
    """List the folders of all workers with this data folder.

    Args:
        settings: Data folder and group; if they name an instance, only its folder is listed.

    Returns:
        The first worker's folder, whether it exists or not, and the existing ones of other workers.
    """
    if settings.worker.instance is not None:
        return [worker_folder(settings)]
    first = worker_folder(settings, 1)
    others = {path.name.rpartition("@")[2]: path for path in first.parent.glob(f"{first.name}@*") if path.is_dir()}
    return [first, *(others[number] for number in sorted((n for n in others if n.isdigit()), key=int))]


@contextmanager
def own_folder(settings: Settings) -> Iterator[Settings]:
    """Lock a worker's folder against other processes.

    Args:
        settings: Name the instance; if they do not, the first one that no other worker has locked is taken.

    Yields:
        The settings with the instance filled in.

    Raises:
        SettingsError: The given instance is already running.
    """
    wanted = settings.worker.instance
    for number in range(1, MAX_INSTANCES) if wanted is None else [wanted]:
        held = _lock(worker_folder(settings, number))
        if held is not None:
            with held:
                worker = settings.worker.model_copy(update={"instance": number})
                yield settings.model_copy(update={"worker": worker})
            return
    folder = worker_folder(settings)
    msg = (
        f"worker.instance={wanted}: expected no other worker in {folder}, but one runs there; "
        "omit the setting to take the next free folder, or give another number"
    )
    raise SettingsError(msg)


@contextmanager
def idle_folder(folder: Path) -> Iterator[bool]:
    """Keep workers out of a folder while something is done with its files.

    Args:
        folder: An existing folder of a worker.

    Yields:
        Whether no worker runs there; then none can start until this ends.
    """
    held = _lock(folder)
    if held is None:
        yield False
        return
    with held:
        yield True


def _lock(folder: Path) -> TextIO | None:
    folder.mkdir(parents=True, exist_ok=True)
    # In the folder itself, so that it is removed with the folder and never blocks another worker.
    handle = (folder / "worker.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle
