"""Tables of partitions that are opened again in the process: rebuilt or not, what cannot be read is never unknown."""

import asyncio
import time

import pytest
from aiokafka.errors import KafkaError

from sidestream.streams.errors import LaneError
from sidestream.streams.listens import partition_fold
from sidestream.streams.listens.table.partition import PartitionTable
from tests.streams.listens.fake_kafka import FakeKafka
from tests.streams.listens.lane_counts import LaneCounts
from tests.streams.listens.lane_scenes import PARTITIONS, changelog, drain, expected, fill, make_lane

DAY_MS = 86_400_000


class Interrupted(KafkaError):
    """Not retried: the partition is opened again."""

    retriable = False


async def seen_by_readers(kafka, lane, user):
    """What readers get of a known user while a partition is opened again, until it folds."""
    kafka.refusals = [Interrupted("gone for a moment")]
    kafka.listen(0, "u0", 1_000)
    seen, was_interrupted = set(), False
    async with asyncio.timeout(20):
        while not was_interrupted or lane.troubles or not lane.is_ready(0):
            await asyncio.sleep(0.001)
            was_interrupted |= bool(lane.troubles)
            try:
                seen.add("unknown" if lane.read(0, user) is None else "known")
            except LaneError:
                seen.add("not open")
                assert not lane.is_ready(0)
    return seen


@pytest.fixture
def slow_rebuilds(monkeypatch):
    """Clearing and loading take as long as those of large tables."""
    for name in ("load", "clear"):
        real = getattr(PartitionTable, name)

        def slow(self, *args, real=real, **options):
            result = real(self, *args, **options)
            time.sleep(0.02)
            return result

        monkeypatch.setattr(PartitionTable, name, slow)


async def test_a_user_is_not_unknown_while_a_table_is_rebuilt(tmp_path, slow_rebuilds):
    kafka, metrics = FakeKafka(), LaneCounts()
    fill(kafka, 100)
    lane = make_lane(kafka, tmp_path, metrics=metrics)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    assert lane.read(0, "u2") is not None
    del kafka.logs["changelog", 0][-20:]  # an unclean election: the table is ahead
    assert await seen_by_readers(kafka, lane, "u2") == {"known", "not open"}
    await lane.close()
    assert not kafka.crashes


async def test_an_owned_table_without_batches_does_not_grow_old(tmp_path, monkeypatch):
    monkeypatch.setattr(partition_fold, "STAMP_MS", 10)
    now_ms = 1_800_000_000_000
    kafka = FakeKafka()
    fill(kafka, 100)
    lane = make_lane(kafka, tmp_path, wall=lambda: now_ms)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    now_ms += 8 * DAY_MS
    async with asyncio.timeout(20):
        while lane._table.get(0).age_ms():
            await asyncio.sleep(0.005)
    assert await seen_by_readers(kafka, lane, "u2") == {"known"}
    await drain(kafka, lane)
    await lane.close()
    assert changelog(kafka) == expected(kafka)
    assert not kafka.crashes
