"""The restorer on an in-memory Kafka: partitions by themselves, a restore that is given up, what it refuses."""

import asyncio

import pytest
from aiokafka.errors import KafkaError

from sidestream.streams.errors import LaneInterrupted, RestoreError
from sidestream.streams.kafka.read_rules import Place
from sidestream.streams.listens.restore import restorer as restoring
from sidestream.streams.listens.restore.followed import FollowedTable
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.users import UserTable
from tests.streams.listens.fake_kafka import FakeConsumer, FakeKafka
from tests.streams.listens.lane_counts import LaneCounts
from tests.streams.listens.lane_scenes import IDENTITY, TABLE


def write_changelog(kafka: FakeKafka, partition: int, count: int) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    for number in range(count):
        key, value = b"u%d" % (number % 20), b"%d" % number if number % 5 else None
        kafka.append("changelog", partition, key, value)
        values.pop(key, None)
        if value is not None:
            values[key] = value
    return values


@pytest.fixture
def tables(tmp_path):
    made = UserTable(tmp_path, IDENTITY, TABLE)
    yield made
    made.close()


async def test_partitions_are_restored_concurrently_and_hold_their_changelogs(tables):
    kafka = FakeKafka()
    values = [write_changelog(kafka, partition, 50 + partition) for partition in (0, 1)]
    opened = tables.open([0, 1])
    restorer = Restorer(IDENTITY, kafka, 7, LaneCounts())
    await asyncio.gather(*(restorer.restore(p, opened[p]) for p in (0, 1)))
    for partition in (0, 1):
        assert dict(opened[partition].items()) == values[partition]
        assert opened[partition].positions.changelog_offset == 49 + partition
        assert opened[partition].age_ms() is not None


async def test_a_restore_that_is_given_up_leaves_a_prefix_and_goes_on_from_it(tables, monkeypatch):
    kafka = FakeKafka()
    values = write_changelog(kafka, 0, 50)
    table = tables.open([0])[0]
    restorer, real, polls = Restorer(IDENTITY, kafka, 7, LaneCounts()), FakeConsumer.getmany, [0]

    async def stuck(consumer, *only, **options):
        if restorer._followed:
            polls[0] += 1
            if polls[0] == 3:
                await asyncio.Event().wait()
        return await real(consumer, *only, **options)

    monkeypatch.setattr(FakeConsumer, "getmany", stuck)
    running = asyncio.create_task(restorer.restore(0, table))
    async with asyncio.timeout(20):
        while polls[0] < 3:
            await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    # Some whole bulks; a fetch may have begun before the partition was followed.
    assert table.positions.changelog_offset in (13, 20)
    assert table.age_ms() is None
    await restorer.restore(0, table)
    assert table.positions.changelog_offset == 49
    assert dict(table.items()) == values


async def test_records_before_the_position_are_refused(tables):
    kafka = FakeKafka()
    kafka.append("changelog", 0, b"u", b"1")
    table = tables.open([0])[0]
    table.write({}, Positions(5, 5))
    followed = FollowedTable(Place("changelog", 0), table, 6, 6, 6, 0.0)
    await followed.write(kafka.logs["changelog", 0], LaneCounts())
    await followed.end_bulk()
    assert isinstance(followed.failure, RestoreError)
    assert "expected records after offset 5" in str(followed.failure)


async def test_a_refused_fetch_interrupts_who_waits_and_the_next_restore_works(tables, monkeypatch):
    kafka = FakeKafka()
    values = write_changelog(kafka, 0, 30)
    table = tables.open([0])[0]
    restorer, real, failures = Restorer(IDENTITY, kafka, 7, LaneCounts()), FakeConsumer.getmany, [1]
    monkeypatch.setattr(restoring, "FAILED_S", 0.01)

    async def refused(consumer, *only, **options):
        if failures[0] and restorer._followed:
            failures[0] -= 1
            raise KafkaError("no")
        return await real(consumer, *only, **options)

    monkeypatch.setattr(FakeConsumer, "getmany", refused)
    with pytest.raises(LaneInterrupted, match="cannot be read now"):
        await restorer.restore(0, table)
    await restorer.restore(0, table)
    assert dict(table.items()) == values


async def test_a_bulk_that_fails_fails_its_partition_alone(tables, monkeypatch):
    kafka = FakeKafka()
    values = [write_changelog(kafka, partition, 50) for partition in (0, 1)]
    opened = tables.open([0, 1])
    restorer = Restorer(IDENTITY, kafka, 7, LaneCounts())
    load = opened[0].load

    def failing(*args, **options):
        raise RestoreError("disk")

    monkeypatch.setattr(opened[0], "load", failing)
    results = await asyncio.gather(*(restorer.restore(p, opened[p]) for p in (0, 1)), return_exceptions=True)
    assert isinstance(results[0], RestoreError)
    assert results[1] is None
    assert dict(opened[1].items()) == values[1]
    monkeypatch.setattr(opened[0], "load", load)
    await restorer.restore(0, opened[0])
    assert dict(opened[0].items()) == values[0]
