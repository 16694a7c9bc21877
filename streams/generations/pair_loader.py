"""The pairs of a worker: found by tokenizer version, loaded and verified in a thread, released once retired."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sidestream.streams.errors import ArtifactError, SidestreamError
from sidestream.streams.generations.pair import Pair

LoadPair = Callable[[Path], Pair]


class PairLoader:
    """Loads each pair once.

    Args:
        own_pair: The worker's own pair, already loaded.
        folder: Folder of pair folders; `None` means that only the worker's own pair exists.
        load: Loads and verifies a pair folder; called in a thread.
        retry_s: After an error, the folder is not read again for this long.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        own_pair: Pair,
        folder: Path | None,
        load: LoadPair,
        retry_s: float,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.own_version = own_pair.tokenizer.version
        self._folder = folder
        self._load = load
        self._pairs: dict[str, Pair] = {self.own_version: own_pair}
        self._retry_s = retry_s
        self._seconds = seconds
        self._errors: dict[tuple[str, str], tuple[SidestreamError, float]] = {}
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generations")

    async def load(self, version: str, name: str) -> Pair:
        """Return a pair, loaded if it is not yet.

        Args:
            version: Its tokenizer version.
            name: Name of its pair folder.

        Returns:
            The pair.

        Raises:
            SidestreamError: It is missing, damaged, of another version, or its model cannot be run.
        """
        async with self._lock:
            if (pair := self._pairs.get(version)) is not None:
                return pair
            error = self._errors.get((version, name))
            if error is not None and self._seconds() < error[1]:
                raise error[0]
            try:
                pair = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, version, name)
            except SidestreamError as exc:
                self._errors[version, name] = exc, self._seconds() + self._retry_s
                raise
            self._pairs[version] = pair
            return pair

    def drop(self, version: str) -> None:
        """Release the pair of a tokenizer version; the next `load` reads it again."""
        self._pairs.pop(version, None)

    def close(self) -> None:
        """Shut the thread down without waiting for a load in progress."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, version: str, name: str) -> Pair:
        if self._folder is None:
            msg = (
                f"generation {version}: expected a folder of pairs with {name!r} in it, got none; "
                "set generations.folder (SIDESTREAM_GENERATIONS__FOLDER) on every worker"
            )
            raise ArtifactError(msg)
        folder = self._folder / name
        if Path(name).name != name or not folder.is_dir():
            msg = f"generation {version}: expected the pair folder {folder}, found none; copy it to every worker"
            raise ArtifactError(msg)
        pair = self._load(folder)
        if pair.tokenizer.version != version:
            msg = (
                f"generation {version}: the pair in {folder} is of version {pair.tokenizer.version}; "
                "copy the right pair there, or roll out the version that the pair has"
            )
            raise ArtifactError(msg)
        return pair
