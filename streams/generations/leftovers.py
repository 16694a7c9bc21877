"""What a retired version leaves on a worker's disk: its saved catalogue, gigabytes of a large one.

Retired versions stay in the orders, so nothing is kept of what was removed already: a worker that was down, or died in
the middle, removes the rest when it runs again. A folder that is half gone is refused by its hashes until then.
"""

import asyncio
import shutil
from collections.abc import Collection
from pathlib import Path

from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)


class Leftovers:
    """Removes the saved catalogues of retired versions.

    Args:
        folder: Holds the catalogues of all versions, each in a folder `<tokenizer version>-<model version>`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._gone: set[str] = set()
        self._told: set[str] = set()

    async def clear(self, retired: Collection[str], kept: Collection[str]) -> None:
        """Remove what is left of retired versions; looks at the disk once a version, and again where it refuses.

        Args:
            retired: Tokenizer versions that nobody starts from any more.
            kept: Those that are live here; nothing of them is touched, whatever `retired` says.
        """
        # One that is prepared again may be saved again.
        self._gone &= set(retired)
        for version in set(retired) - self._gone - set(kept):
            left = await asyncio.to_thread(self._remove, version, kept)
            if not left:
                self._gone.add(version)
            elif version not in self._told:
                _log.warning("saved catalogue of a retired version not removed", folders=left)
                self._told.add(version)

    def _remove(self, version: str, kept: Collection[str]) -> list[str]:
        """Remove a version's folders; return those that are still there."""
        if not self._folder.is_dir():
            return []
        # Compared, never joined: versions come from a topic.
        spared = tuple(f"{other}-" for other in kept)
        found = [
            path
            for path in self._folder.iterdir()
            if path.name.startswith(f"{version}-") and not path.name.startswith(spared)
        ]
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        left = [str(path) for path in found if path.exists()]
        if found and not left:
            _log.info("saved catalogue of a retired version removed", version=version)
        return left
