"""Concurrent coroutines: none is left running."""

import asyncio
import contextlib

import pytest

from sidestream.streams.runtime.waiting import run_concurrently, run_until


async def test_results_are_in_order():
    async def work(number: int) -> int:
        await asyncio.sleep(0.001 * (3 - number))
        return number

    assert await run_concurrently(work(number) for number in range(3)) == [0, 1, 2]
    assert await run_concurrently([]) == []


async def test_first_failure_cancels_the_others_and_is_raised_without_a_group():
    cancelled = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        await run_concurrently([wait(), fail(), wait()])
    assert cancelled == [True, True]


async def test_work_is_cancelled_when_the_event_comes_first():
    stop, ended = asyncio.Event(), []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def quick() -> None:
        ended.append(False)

    async def fail() -> None:
        raise KeyError

    assert await run_until(stop, quick())
    with pytest.raises(KeyError):
        await run_until(stop, fail())
    asyncio.get_running_loop().call_later(0.01, stop.set)
    assert not await run_until(stop, wait())
    assert ended == [False, True]


@pytest.mark.parametrize(("takes_s", "grace_s", "completes"), [(0.02, 5.0, True), (60.0, 0.02, False)])
async def test_work_may_take_a_grace_after_the_event(takes_s, grace_s, completes):
    stop = asyncio.Event()
    stop.set()
    assert await run_until(stop, asyncio.sleep(takes_s), grace_s) is completes


async def test_a_cancellation_after_a_failure_is_not_forgotten():
    """Whoever tries again after failures must end when it is cancelled while the others still end."""
    is_ending, may_end, attempts = asyncio.Event(), asyncio.Event(), []

    async def end_slowly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_ending.set()
            await may_end.wait()

    async def fail() -> None:
        raise KeyError

    async def again_and_again() -> None:
        while len(attempts) < 2:
            attempts.append(True)
            with contextlib.suppress(KeyError):
                await run_concurrently([end_slowly(), fail()])

    task = asyncio.create_task(again_and_again())
    await is_ending.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    assert attempts == [True]
