import asyncio

import pytest

from sidestream.streams.runtime.pacing import (
    BUSY_BATCH_SHARE,
    BUSY_LOOP_ITERATIONS,
    BUSY_S,
    MAX_SAVED_S,
    MAX_SLICES,
    Pacer,
)


class Clock:
    """Advances when a test says so, and while the loop waits: a pause takes the loop's time."""

    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return asyncio.get_running_loop().time() + self.ahead_s


@pytest.fixture
async def clock():
    return Clock()


async def turns_of_the_loop(coroutine):
    """Count how often other tasks run until it ends."""
    task, turns = asyncio.ensure_future(coroutine), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_within_a_slice_the_pacer_does_not_yield(clock):
    pacer = Pacer(slice_ms=1_000, clock=clock)
    pacer.session_begins("a")
    assert await turns_of_the_loop(pacer.yield_if_due()) == 1


async def test_at_the_end_of_a_slice_the_loop_runs_and_a_new_slice_begins(clock):
    pacer = Pacer(slice_ms=1_000, clock=clock)
    clock.ahead_s += 1.1
    assert await turns_of_the_loop(pacer.yield_if_due()) > 3
    assert await turns_of_the_loop(pacer.yield_if_due()) == 1


async def test_listens_pause_until_the_last_session_is_answered(clock):
    pacer = Pacer(slice_ms=1, listen_share=0.001, clock=clock)
    pacer.session_begins("a")
    pacer.session_begins("b")
    clock.ahead_s += 1.0
    waiting = asyncio.create_task(pacer.yield_if_due())
    for _ in range(10):
        await asyncio.sleep(0)
    pacer.session_ends("a")
    pacer.session_ends("a")
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    pacer.session_ends("b")
    async with asyncio.timeout(5):
        await waiting


@pytest.mark.parametrize("listen_share", [0.25, 0.5, 0.8])
async def test_listens_keep_their_share_of_the_time_however_long_sessions_wait(clock, listen_share):
    pacer = Pacer(slice_ms=2, listen_share=listen_share, clock=clock)
    await pacer.yield_if_due()
    pacer.session_begins("a")
    begun_s = clock()
    worked_s = 0.0
    async with asyncio.timeout(10):
        while worked_s < 0.1:
            clock.ahead_s += 0.004
            worked_s += 0.004
            await pacer.yield_if_due()
    stood_back_s = clock() - begun_s - worked_s
    assert stood_back_s <= MAX_SAVED_S + (clock() - begun_s) * (1 - listen_share) + 0.05
    assert stood_back_s >= worked_s * (1 - listen_share) / listen_share * 0.9


async def test_with_a_share_of_one_listens_never_pause(clock):
    pacer = Pacer(slice_ms=1, listen_share=1.0, clock=clock)
    pacer.session_begins("a")
    async with asyncio.timeout(1):
        for _ in range(50):
            clock.ahead_s += 0.01
            await pacer.yield_if_due()


async def test_a_wait_for_kafka_accumulates_no_more_pause_than_work(clock):
    pacer = Pacer(slice_ms=1, listen_share=0.5, clock=clock)
    clock.ahead_s += 60.0
    await pacer.yield_if_due()
    assert pacer._saved_s == pytest.approx(MAX_SLICES * 0.001)


async def test_batches_are_smaller_while_sessions_arrive_and_shortly_after(clock):
    pacer = Pacer(slice_ms=1, clock=clock)
    assert pacer.batch_records(1_000) == 1_000
    pacer.session_begins("a")
    assert pacer.batch_records(1_000) == round(1_000 * BUSY_BATCH_SHARE)
    assert pacer.batch_records(1) == 1
    clock.ahead_s += 2 * BUSY_S
    assert pacer.batch_records(1_000) < 1_000, "it waits still"
    pacer.session_ends("a")
    assert pacer.batch_records(1_000) == 1_000
    pacer.session_begins("b")
    pacer.session_ends("b")
    assert pacer.batch_records(1_000) < 1_000, "the next one may be on its way"


async def test_slices_are_shorter_and_the_loop_runs_more_often_while_sessions_arrive(clock):
    pacer = Pacer(slice_ms=1_000, listen_share=1.0, clock=clock)
    clock.ahead_s += 0.6
    assert await turns_of_the_loop(pacer.yield_if_due()) == 1
    pacer.session_begins("a")
    pacer.session_ends("a")
    assert await turns_of_the_loop(pacer.yield_if_due()) > BUSY_LOOP_ITERATIONS
    clock.ahead_s += 2 * BUSY_S
    await pacer.yield_if_due()
    clock.ahead_s += 0.6
    assert await turns_of_the_loop(pacer.yield_if_due()) == 1
