"""The read replica on an in-memory Kafka: it follows workers without being one."""

import asyncio
from typing import ClassVar

import pytest

from sidestream.models.history import describe
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.errors import LaneError
from sidestream.streams.listens import standbys
from sidestream.streams.listens.replica import ReadReplica, StateRead
from sidestream.streams.listens.table.partition import PartitionTable
from tests.streams.listens.fake_kafka import FakeKafka
from tests.streams.listens.lane_scenes import LANE, PARTITIONS, drain, expected, make_lane

TOPICS = build_topics(TopicSettings(user_partitions=2))
USERS = [f"u{number}" for number in range(6)]


class Kafka(FakeKafka):
    """The topics of the scenes under the names of an installation."""

    def __init__(self):
        super().__init__()
        self.topics |= {
            TOPICS.listens.name: self.topics["listens"],
            TOPICS.user_state_changelog.name: self.topics["changelog"],
        }

    def listen(self, partition, user, number):
        super().listen(TOPICS.listens.partition_of(user.encode()), user, number)


@pytest.fixture
def kafka():
    made = Kafka()
    made.logs = Shared(made.logs)
    return made


class Shared(dict):
    """One log under both of its names."""

    NAMES: ClassVar = {TOPICS.listens.name: "listens", TOPICS.user_state_changelog.name: "changelog"}

    def __missing__(self, place):
        topic, partition = place
        if topic in self.NAMES:
            return self[self.NAMES[topic], partition]
        self[place] = []
        return self[place]


async def test_it_reads_what_is_durable_with_its_watermark_and_follows(kafka, tmp_path):
    for number in range(60):
        kafka.listen(0, USERS[number % 6], number)
    lane = make_lane(kafka, tmp_path / "worker")
    async with ReadReplica(kafka, TOPICS, tmp_path / "replica", LANE) as replica:
        await lane.on_assigned(PARTITIONS)
        await drain(kafka, lane)
        await replica.wait_current(20)
        states = expected(kafka)
        async with asyncio.timeout(20):
            while any(replica.read(user).value != states[user.encode()] for user in USERS):
                await asyncio.sleep(0.001)
        found = replica.read("u1")
        assert found.watermark == describe(found.value)["watermarks"]["listens"]
        assert found.lag_ms is not None
        assert replica.read("nobody")[:2] == (None, None)
        kafka.listen(0, "u1", 60)
        await drain(kafka, lane)
        states = expected(kafka)
        async with asyncio.timeout(20):
            while replica.read("u1").value != states[b"u1"]:
                await asyncio.sleep(0.001)
        assert replica.read("u1").watermark > found.watermark
    await lane.close()


async def test_it_keeps_some_partitions_and_names_the_others(kafka, tmp_path):
    async with ReadReplica(kafka, TOPICS, tmp_path, LANE, partitions=[1]) as replica:
        await replica.wait_current(20)
        here, there = (
            next(user for user in USERS if TOPICS.listens.partition_of(user.encode()) == partition)
            for partition in (1, 0)
        )
        assert replica.read(here) == StateRead(None, None, 0)
        with pytest.raises(LaneError, match=r"expected a user of partitions \[1\], got one of 0"):
            replica.read(there)


async def test_it_names_what_is_incomplete_and_why(kafka, tmp_path, monkeypatch):
    def full(*args, **options):
        raise Exception("No space left on device")

    monkeypatch.setattr(standbys, "RETRY_S", 0.01)
    user = next(user for user in USERS if TOPICS.listens.partition_of(user.encode()) == 1)
    kafka.append("changelog", 1, user.encode(), b"1")
    async with ReadReplica(kafka, TOPICS, tmp_path, LANE, partitions=[1]) as replica:
        with monkeypatch.context() as patch:
            patch.setattr(PartitionTable, "load", full)
            with pytest.raises(TimeoutError, match=r"none yet of \[1\]; 1: .*No space left"):
                await replica.wait_current(0.5)
        await replica.wait_current(20)
        assert replica._tables.get(1).get(user.encode()) == b"1"
        assert replica.troubles == {}
        replica._tables.get(1).close()
        with pytest.raises(LaneError, match="partition 1: its table is not open now"):
            replica.read(user)
