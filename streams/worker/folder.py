"""The folder that one worker has for itself; workers with the same data folder have one each, side by side.

The first has `worker/APP_ID`, the others `worker/APP_ID@2` and so on. A lock says which are in use: a worker that is
started takes the first that is free, so that one that comes back after its end finds the tables it left.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sidestream.streams.errors import SettingsError
from sidestream.streams.settings import Settings

MAX_INSTANCES = 1_000


def worker_folder(settings: Settings, instance: int | None = None) -> Path:
    """Name the folder of a worker.

    Args:
        settings: Data folder, group and instance.
        instance: Which of the workers with this data folder; by default the one in the settings, else the first.

    Returns:
        The folder; it may not exist yet.
    """
    number = instance or settings.worker.instance or 1
    # No group's name holds an @.
    suffix = "" if number == 1 else f"@{number}"
    return settings.data_dir / "worker" / f"{settings.worker.app_id}{suffix}"


def worker_folders(settings: Settings) -> list[Path]:
    """List the folders of all workers with this data folder that there are.

    Args:
        settings: Data folder and group; an instance in the settings is the only one that counts.

    Returns:
        The first worker's, whether it is there or not, and those of others that are.
    """
    if settings.worker.instance is not None:
        return [worker_folder(settings)]
    first = worker_folder(settings, 1)
    others = {path.name.rpartition("@")[2]: path for path in first.parent.glob(f"{first.name}@*") if path.is_dir()}
    return [first, *(others[number] for number in sorted((n for n in others if n.isdigit()), key=int))]


@contextmanager
def own_folder(settings: Settings) -> Iterator[Settings]:
    """Hold a worker's folder against other processes.

    Args:
        settings: Where an instance is given, that one; else the first that no other worker holds.

    Yields:
        The settings with the instance filled in.

    Raises:
        SettingsError: The instance that is given runs already.
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
        "leave the setting out for the next free folder, or give another number"
    )
    raise SettingsError(msg)


def _lock(folder: Path) -> TextIO | None:
    folder.mkdir(parents=True, exist_ok=True)
    # In the folder itself: removed with it, it holds nobody up.
    handle = (folder / "worker.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle
