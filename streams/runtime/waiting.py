"""Helpers to await: coroutines run together, tasks that come and go, one until a stop event, a thread to its end."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Hashable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


async def run_concurrently(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently.

    `asyncio.gather` would leave the others running after a failure. `TaskGroup` of Python 3.11 and 3.12 forgets a
    cancellation that arrives after a failure, while the others end: a caller that tries again would never end.

    Args:
        coroutines: Coroutines to run.

    Returns:
        Their results, in the same order.

    Raises:
        CancelledError: This was cancelled, perhaps after a failure.
        BaseException: The first failure. Whatever is raised, the others have been cancelled and have ended by then.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    failures: list[BaseException] = []
    for task in tasks:
        task.add_done_callback(partial(_note_failure, failures))
    running, cancelled, is_ending = set(tasks), None, False
    while running:
        if (failures or cancelled) and not is_ending:
            is_ending = True
            for task in running:
                task.cancel()
        try:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError as exc:
            cancelled = exc
            running = {task for task in running if not task.done()}
    if cancelled is not None:
        raise cancelled
    if failures:
        raise failures[0]
    return [task.result() for task in tasks]


def _note_failure(failures: list[BaseException], task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        failures.append(failure)


async def run_until(stop: asyncio.Event, coroutine: Coroutine[Any, Any, object], grace_s: float = 0.0) -> bool:
    """Run a coroutine, but cancel it once an event is set.

    Args:
        stop: The event.
        coroutine: Coroutine to run; its exception is raised here.
        grace_s: How long it may still take after the event, in seconds.

    Returns:
        Whether it completed; otherwise it was cancelled and has ended.
    """
    work, stopped = asyncio.create_task(coroutine), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and grace_s > 0:
            await asyncio.wait({work}, timeout=grace_s)
        if work.done():
            work.result()
        return work.done()
    finally:
        work.cancel()
        stopped.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)


async def run_in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run a function in a thread, and wait for its end even when cancelled: a thread goes on.

    Args:
        function: Blocking function.
        *args: Its arguments.

    Returns:
        Its result.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # read, or asyncio would log it
        raise


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
