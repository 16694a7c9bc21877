"""Removes the saved catalogues of retired versions from a worker's disk: gigabytes for a large catalogue.

Retired versions stay in the orders, so no record of past removals is needed: a worker that was down, or died during a
removal, removes the rest when it runs again. Until then the hashes of a partly removed folder do not match, and it is
not loaded.
"""

import asyncio
import shutil
from collections.abc import Collection
from pathlib import Path

from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)


class RetiredCatalogues:
    """Removes the saved catalogues of retired versions.

    Args:
        folder: Holds the catalogues of all versions, each in a folder `<tokenizer version>-<model version>`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._removed: set[str] = set()
        self._warned: set[str] = set()

    async def remove(self, retired: Collection[str], kept: Collection[str]) -> None:
        """Remove the catalogues of retired versions. Reads the disk once per version, and again after a failure.

        Args:
            retired: Tokenizer versions that no worker starts from any more.
            kept: Versions that are live here; their folders are never touched, even if they are in `retired`.
        """
        # A version that is prepared again may be saved again.
        self._removed &= set(retired)
        for version in set(retired) - self._removed - set(kept):
            left = await asyncio.to_thread(self._remove, version, kept)
            if not left:
                self._removed.add(version)
            elif version not in self._warned:
                _log.warning("saved catalogue of a retired version not removed", folders=left)
                self._warned.add(version)

    def _remove(self, version: str, kept: Collection[str]) -> list[str]:
        """Remove a version's folders; return those that still exist."""
        if not self._folder.is_dir():
            return []
        # Names are compared and never joined to a path: versions come from a topic.
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
