"""The pairs of a worker: found by tokenizer version, loaded and verified in a thread, let go when they are retired."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sidestream.streams.errors import ArtifactError, SidestreamError
from sidestream.streams.generations.pair import Pair

LoadPair = Callable[[Path], Pair]


class Shelf:
    """Loads pairs, each once.

    Args:
        home: The worker's own pair, loaded already.
        folder: Folder of pair folders; none: there is only the own pair.
        load: Loads and verifies a pair folder; called in a thread.
        retry_s: For so long a refusal stands before the folder is looked at again.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        home: Pair,
        folder: Path | None,
        load: LoadPair,
        retry_s: float,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.home_version = home.tokenizer.version
        self._folder = folder
        self._load = load
        self._pairs: dict[str, Pair] = {self.home_version: home}
        self._retry_s = retry_s
        self._seconds = seconds
        self._refused: dict[tuple[str, str], tuple[SidestreamError, float]] = {}
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generations")

    async def pair(self, version: str, name: str) -> Pair:
        """Give a pair.

        Args:
            version: Its tokenizer version.
            name: Name of its pair folder.

        Returns:
            The pair.

        Raises:
            SidestreamError: It is not there, damaged, of another version, or its model cannot be run.
        """
        async with self._turn:
            if (pair := self._pairs.get(version)) is not None:
                return pair
            refusal = self._refused.get((version, name))
            if refusal is not None and self._seconds() < refusal[1]:
                raise refusal[0]
            try:
                pair = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, version, name)
            except SidestreamError as exc:
                self._refused[version, name] = exc, self._seconds() + self._retry_s
                raise
            self._pairs[version] = pair
            return pair

    def drop(self, version: str) -> None:
        """Let a pair go; it is loaded anew if it is asked for again.

        Args:
            version: Its tokenizer version.
        """
        self._pairs.pop(version, None)

    def close(self) -> None:
        """Let the thread go; a load under way ends by itself."""
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
                "copy the right one there, or roll out the version that it is"
            )
            raise ArtifactError(msg)
        return pair
