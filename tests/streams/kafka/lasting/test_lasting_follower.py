"""A follower that goes on where it was after its client failed; what stays an error."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from sidestream.streams.errors import AccessError, TopicError
from sidestream.streams.kafka import outages
from sidestream.streams.kafka.lasting.follower import LastingFollower
from sidestream.streams.kafka.read_rules import Place
from tests.streams.kafka.model_log import Cluster


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(outages, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(outages, "LONGEST_PAUSE_S", 0.002)


def follow(cluster, **options):
    return LastingFollower(cluster, {"t": [0, 1]}, "tests", seconds=cluster.seconds, **options)


async def read(follower, count, polls=50):
    """Values by partition, until so many are read."""
    found = {0: [], 1: []}
    for _ in range(polls):
        for place, records in await follower.poll(1):
            found[place.partition] += [record.value for record in records]
        if sum(map(len, found.values())) >= count:
            return found
    raise AssertionError(found)


@pytest.mark.parametrize("failures", [1, 3])
async def test_goes_on_at_its_positions_with_a_new_client(failures):
    cluster = Cluster(t=2)
    cluster.fill(5)
    cluster.fill(2, partition=1)
    follower = follow(cluster)
    await follower.open()
    assert await read(follower, 7) == {0: [b"0", b"1", b"2", b"3", b"4"], 1: [b"0", b"1"]}
    cluster.fill(2, partition=1)
    cluster.failures = [KafkaConnectionError("gone") for _ in range(failures)]
    assert await follower.poll(1) == []
    assert cluster.outages.of("tests").is_on
    assert await read(follower, 2) == {0: [], 1: [b"0", b"1"]}
    assert not cluster.outages.of("tests").is_on
    assert [one.is_closed for one in cluster.consumers] == [True] * failures + [False]
    assert follower.num_restarts == 0
    await follower.close()
    assert cluster.consumers[-1].is_closed


async def test_keeps_its_target_ends():
    cluster = Cluster(t=2)
    cluster.fill(7)
    follower = follow(cluster)
    await follower.open()
    await follower.poll(1)
    cluster.fill(5)
    cluster.failures = [KafkaConnectionError("gone")]
    while not follower.is_caught_up:
        await follower.poll(1)
    assert follower.positions[Place("t", 0)] < 12
    await follower.close()


@pytest.mark.parametrize("task", ["_fetcher", "_client"])
async def test_notices_a_client_whose_task_has_ended(task):
    cluster = Cluster(t=2)
    follower = follow(cluster)
    await follower.open()
    ended = asyncio.get_running_loop().create_future()
    ended.set_exception(KafkaError("Unexpected error during data retrieval"))
    attributes = {"_fetcher": "_fetch_task", "_client": "_sync_task"}
    setattr(follower._consumer, task, SimpleNamespace(**{attributes[task]: ended}))
    assert await follower.poll(1) == []
    cluster.fill(1)
    assert await read(follower, 1) == {0: [b"0"], 1: []}
    await follower.close()


async def test_waits_for_a_broker_that_does_not_answer_at_first():
    cluster = Cluster(t=2)
    cluster.fill(1)
    cluster.is_silent = True
    follower = follow(cluster)
    opening = asyncio.create_task(follower.open())
    while len(cluster.consumers) < 3:
        await asyncio.sleep(0)
    cluster.is_silent = False
    await opening
    assert await read(follower, 1) == {0: [b"0"], 1: []}
    await follower.close()


async def test_a_close_ends_the_wait():
    cluster = Cluster(t=2)
    cluster.is_silent = True
    follower = follow(cluster)
    opening = asyncio.create_task(follower.open())
    while not cluster.outages.of("tests").is_on:
        await asyncio.sleep(0)
    await follower.close()
    await opening
    assert await follower.poll(1) == []
    assert all(one.is_closed for one in cluster.consumers)
    assert not cluster.outages.of("tests").is_on


async def test_missing_topics_and_rights_stay_errors():
    with pytest.raises(TopicError, match="expected topic t"):
        await follow(Cluster(other=1)).open()
    cluster = Cluster(t=2)
    follower = follow(cluster)
    await follower.open()
    cluster.failures = [TopicAuthorizationFailedError("t")]
    with pytest.raises(AccessError):
        await follower.poll(1)
    await follower.close()


async def test_a_read_that_gets_nowhere_is_an_outage_until_it_moves():
    """A partition without a leader looks like one without records."""
    cluster = Cluster(t=2)
    cluster.fill(3)
    cluster.fill(6, partition=1)
    follower = follow(cluster)
    await follower.open()
    fetch, cluster.fetch_offsets = cluster.fetch_offsets, 0
    for _ in range(9):
        await follower.poll(2_000)
    assert follower.is_waiting
    assert "9 records of t cannot be read" in cluster.outages.of("tests")._reason
    for _ in range(3):
        await follower.poll(1)
    assert follower.is_waiting
    cluster.fetch_offsets = fetch
    assert await read(follower, 9) == {0: [b"0", b"1", b"2"], 1: [b"0", b"1", b"2", b"3", b"4", b"5"]}
    await follower.poll(1)
    assert not follower.is_waiting
    await follower.close()


async def test_a_caller_that_polls_rarely_is_not_stuck():
    cluster = Cluster(t=2)
    cluster.fill(9)
    follower = follow(cluster)
    await follower.open()
    fetch, cluster.fetch_offsets = cluster.fetch_offsets, 0
    for _ in range(3):
        await follower.poll(1)
        cluster.seconds.now_s += 20.0
    assert not follower.is_waiting
    cluster.fetch_offsets = fetch
    assert await read(follower, 9)
    await follower.close()
