"""Tasks by key: awaited as one, started and stopped by themselves."""

import asyncio

import pytest

from sidestream.streams.runtime.waiting import KeyedTasks


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


async def test_one_is_stopped_while_the_others_go_on():
    tasks, running = KeyedTasks[int](), asyncio.Event()
    tasks.start(1, forever())
    tasks.start(2, running.wait())
    awaited = asyncio.create_task(tasks.run())
    (first,) = tasks.of([1, 7])
    first.cancel()
    await asyncio.wait({first})
    await asyncio.sleep(0)
    assert not tasks.of([1])
    assert len(tasks.of([2])) == 1
    tasks.end()
    await asyncio.sleep(0)
    assert not awaited.done()
    running.set()
    await awaited


async def test_it_waits_for_tasks_while_there_are_none_until_the_end():
    tasks = KeyedTasks[str]()
    awaited = asyncio.create_task(tasks.run())
    await asyncio.sleep(0)
    assert not awaited.done()
    tasks.end()
    await awaited


@pytest.mark.parametrize("is_late", [False, True])
async def test_the_first_failure_ends_all(is_late):
    tasks = KeyedTasks[int]()
    tasks.start(1, forever())
    (other,) = tasks.of([1])
    if not is_late:
        tasks.start(2, fail())
    awaited = asyncio.create_task(tasks.run())
    await asyncio.sleep(0)
    if is_late:
        tasks.start(2, fail())
    with pytest.raises(ValueError, match="no"):
        await awaited
    assert other.cancelled()


async def test_cancelling_the_wait_cancels_the_tasks():
    tasks = KeyedTasks[int]()
    tasks.start(1, forever())
    (task,) = tasks.of([1])
    awaited = asyncio.create_task(tasks.run())
    await asyncio.sleep(0)
    awaited.cancel()
    await asyncio.wait({awaited})
    assert task.cancelled()
