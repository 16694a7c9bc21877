"""Tasks by key that run concurrently; single ones are started and stopped while the others go on."""

import asyncio
from collections.abc import Collection, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyedTasks(Generic[K]):
    """A changing set of tasks, awaited as one: the first failure ends all."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._is_closing = False

    def start(self, key: K, coroutine: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Start a task.

        Args:
            key: Its key, which no running task has.
            coroutine: What it runs.
            name: Name of the task.
        """
        task = self._tasks[key] = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(lambda _: self._ended(key, task))

    def of(self, keys: Collection[K]) -> set["asyncio.Task[None]"]:
        """Return the running tasks of some keys."""
        return {task for key in keys if (task := self._tasks.get(key)) is not None}

    def end(self) -> None:
        """Let `run` return once all tasks have ended."""
        self._is_closing = True
        self._changed.set()

    async def run(self) -> None:
        """Wait until `end` was called and all tasks have ended; where this is cancelled, so are they.

        Raises:
            BaseException: The first failure; by then the others have been cancelled and have ended.
        """
        try:
            while self._tasks or not self._is_closing:
                if self._failure is not None:
                    raise self._failure
                self._changed.clear()
                await self._changed.wait()
            if self._failure is not None:
                raise self._failure
        finally:
            await self.cancel()

    async def cancel(self) -> None:
        """Cancel all and wait for their end; `run` does it too, unless it was cancelled before its first step."""
        left = set(self._tasks.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _ended(self, key: K, task: "asyncio.Task[None]") -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled() and (failure := task.exception()) is not None and self._failure is None:
            self._failure = failure
        self._changed.set()
