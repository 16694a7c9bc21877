"""Features of the asyncio reader only: closing on early exit or cancellation, pace, second pass."""

import asyncio
import contextlib

import pytest

from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.pace import Pace
from sidestream.streams.kafka.reading import fetch_bounds, read_to_end
from tests.streams.kafka.model_log import Cluster
from tests.streams.kafka.readers import T0, offsets_to_end


async def test_read_to_end_reads_and_closes():
    cluster = Cluster(t=2)
    cluster.fill(4)
    cluster.fill(2, partition=1)
    found = [batch async for batch in read_to_end(cluster, "t", [0], start={0: 1}, ends={0: 3})]
    assert [[record.offset for record in records] for _, records in found] == [[1, 2]]
    assert cluster.consumers[-1].is_closed
    assert [batch async for batch in read_to_end(cluster, "t", [])] == []
    assert await fetch_bounds(cluster, "t", [0, 1]) == {0: (0, 4), 1: (0, 2)}


async def test_an_early_exit_and_a_cancellation_close_the_consumer():
    cluster = Cluster(t=1)
    cluster.fill(9)
    async with contextlib.aclosing(read_to_end(cluster, "t", [0])) as batches:
        async for _ in batches:
            break
    assert cluster.consumers[-1].is_closed
    reached = asyncio.Event()

    async def read():
        async for _ in read_to_end(cluster, "t", [0]):
            reached.set()
            await asyncio.Event().wait()

    reading = asyncio.create_task(read())
    await reached.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert cluster.consumers[-1].is_closed


async def test_cancelling_while_it_connects_closes_the_consumer():
    waits = asyncio.Event()

    class Slow(Cluster):
        def async_consumer(self, **options):
            consumer = super().async_consumer(**options)

            async def start():
                waits.set()
                await asyncio.Event().wait()

            consumer.start = start
            return consumer

    cluster = Slow(t=1)
    opening = asyncio.create_task(Follower(cluster, {"t": [0]}).open())
    await waits.wait()
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert cluster.consumers[-1].is_closed


async def test_a_pace_rests_after_each_batch_by_the_time_it_took(monkeypatch):
    cluster, rests = Cluster(t=1), []
    cluster.fill(6)
    sleep = asyncio.sleep

    async def rest(seconds):
        rests.append(seconds)
        await sleep(0)

    async with Follower(cluster, {"t": [0]}, seconds=cluster.seconds) as follower:
        monkeypatch.setattr(asyncio, "sleep", rest)
        sizes = []
        async for _, records in follower.to_end(max_records=2, pace=Pace(2, 3.0)):
            sizes.append(len(records))
            cluster.seconds.now_s += 0.5
    assert sizes == [2, 2, 2]
    assert rests == pytest.approx([1.5, 1.5, 1.5])


async def test_a_second_pass_returns_the_same_records():
    cluster = Cluster(t=1)
    cluster.fill(7)
    async with Follower(cluster, {"t": [0]}, restarts=False) as follower:
        first = await offsets_to_end(follower)
        cluster.fill(3)
        follower.rewind()
        assert await offsets_to_end(follower) == first == {T0: list(range(7))}
