"""Helpers to await: several coroutines concurrently, one until a stop event, or a thread to its end."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def run_concurrently(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently.

    `asyncio.gather` would leave the others running after a failure, and `TaskGroup` alone raises an exception group.

    Args:
        coroutines: Coroutines to run.

    Returns:
        Their results, in the same order.

    Raises:
        BaseException: The first failure; by then the others have been cancelled and have ended.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


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
