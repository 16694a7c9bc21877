"""A table that was offline for longer than `delete.retention.ms`, on an in-memory Kafka."""

import pytest

from sidestream.streams.contracts.topics import KAFKA_DELETE_RETENTION_MS
from tests.streams.listens.fake_kafka import FakeKafka
from tests.streams.listens.lane_counts import LaneCounts
from tests.streams.listens.lane_scenes import PARTITIONS, fill, run_to_end

HOUR_MS = 3_600_000
# What is left of a day to clocks that differ.
LIMIT_MS = KAFKA_DELETE_RETENTION_MS - HOUR_MS
GONE = b"u2"


class Reasons(LaneCounts):
    def __init__(self):
        super().__init__()
        self.reasons = []

    def rebuilt(self, reason):
        self.reasons.append(reason)


class Day:
    """A clock that tests set."""

    def __init__(self):
        self.now_ms = 1_790_000_000_000

    def __call__(self):
        return self.now_ms


def erase_without_a_trace(kafka: FakeKafka, key: bytes) -> None:
    """Simulates an erasure by another worker after compaction has removed its tombstone."""
    for partition in PARTITIONS:
        others = [record for record in kafka.visible("changelog", partition) if record.key not in (key, None)]
        if len(others) < len(kafka.visible("changelog", partition)):
            # The last record of a log is never compacted.
            kafka.append("changelog", partition, others[-1].key, others[-1].value)
            log = kafka.logs["changelog", partition]
            log[:] = [record for record in log if record.key != key]


@pytest.mark.parametrize(("away_ms", "is_rebuilt"), [(LIMIT_MS - 1, False), (LIMIT_MS, True)])
async def test_compacted_tombstones_are_not_missed(tmp_path, away_ms, is_rebuilt):
    kafka, day, metrics = FakeKafka(), Day(), Reasons()
    fill(kafka, 60)
    before = await run_to_end(kafka, tmp_path, wall=day)
    assert GONE in before
    erase_without_a_trace(kafka, GONE)
    day.now_ms += away_ms
    after = await run_to_end(kafka, tmp_path, wall=day, metrics=metrics)
    assert not kafka.crashes
    assert metrics.reasons == (["old", "old"] if is_rebuilt else [])
    # Within the retention the tombstone would still exist: it is missing only in this test.
    assert (GONE in after) is not is_rebuilt
    assert {user for user in before if user != GONE} <= set(after)


async def test_a_table_that_missed_nothing_is_kept_at_any_age(tmp_path):
    kafka, day, metrics = FakeKafka(), Day(), Reasons()
    fill(kafka, 60)
    before = await run_to_end(kafka, tmp_path, wall=day)
    # A start brings it to the very end of the log, transaction markers included.
    await run_to_end(kafka, tmp_path, wall=day)
    day.now_ms += 100 * LIMIT_MS
    assert await run_to_end(kafka, tmp_path, wall=day, metrics=metrics) == before
    assert metrics.reasons == []


async def test_a_start_resets_the_age_of_a_table(tmp_path):
    kafka, day, metrics = FakeKafka(), Day(), Reasons()
    fill(kafka, 60)
    await run_to_end(kafka, tmp_path, wall=day)
    for _ in range(3):
        day.now_ms += LIMIT_MS - 1
        erase_without_a_trace(kafka, b"unknown")
        await run_to_end(kafka, tmp_path, wall=day, metrics=metrics)
    assert metrics.reasons == []
