"""Counting on an in-memory Kafka: resumed at the mark, caught up in the background, published once."""

import asyncio
import json

import pytest

from sidestream.models.records.times import LATEST_UNSTAMPED_AT
from sidestream.streams.contracts.decode import decode_listen
from sidestream.streams.contracts.topics import TopicState
from sidestream.streams.errors import BadRecord
from sidestream.streams.popularity import count_publisher
from sidestream.streams.popularity.ahead import AheadGuard
from sidestream.streams.popularity.count_publisher import ItemCounting
from sidestream.streams.popularity.listen_counts import ListenCounts
from sidestream.streams.popularity.partition_changes import CountTopics
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import CountedPart, part_key, read_part
from sidestream.tokenizer.popularity import Counts, merge_counts
from tests.streams.listens.fake_kafka import NOW_MS, FakeKafka
from tests.streams.popularity.counted_log import as_dict

SETTINGS = PopularitySettings(publish_s=10)
TOPICS = CountTopics("counts", 2, "changes", 2)


def weights(counts):
    return as_dict(counts, NOW_MS // SETTINGS.decay.half_life_ms)


class Scene:
    def __init__(self, settings=SETTINGS):
        self.kafka, self.now_s = FakeKafka(), 100.0
        self.kafka.topics |= {name: TopicState(2, None) for name in ("changes", "totals")}
        self.settings = settings
        self.make()

    async def resume(self, partition: int, position: int):
        await self.counting.prepare(partition)
        return await self.counting.resume(partition, position)

    def make(self):
        self.counting = ItemCounting(
            TOPICS, "listens", self.kafka, self.decode, self.settings, clock=lambda: self.now_s
        )

    def decode(self, key, value, timestamp):
        return decode_listen(key, value, timestamp)

    def fill(self, count, start=0):
        for number in range(start, start + count):
            self.kafka.listen(1, "u", number)
        self.kafka.append("listens", 1, b"u", b"{bad")

    def mark(self, offset, half_life_ms=SETTINGS.decay.half_life_ms):
        value = CountedPart(half_life_ms, offset, Counts.empty()).to_bytes()
        self.kafka.append("counts", 1, part_key(1, None), value)

    def rows(self, start, end):
        rows = []
        for record in self.kafka.logs["listens", 1][start:end]:
            try:
                rows.append((record.offset, decode_listen(record.key, record.value, record.timestamp)))
            except BadRecord:
                continue
        return rows

    def write(self, records):
        for record in records:
            self.kafka.append(record.topic, record.partition, record.key, record.value)

    def changes(self):
        logs = [self.kafka.logs["changes", partition] for partition in (0, 1)]
        return merge_counts([read_part(record.value).counts for log in logs for record in log])

    def expected(self, start, end):
        counts = count_publisher.PartitionChanges(
            1, self.settings.decay, TOPICS, count_publisher.Published(start), start
        )
        counts.add([self.rows(start, end)], end)
        return merge_counts([read_part(r.value).counts for r in counts.take() if r.topic == "changes"])


async def test_counting_resumes_at_the_mark_and_catches_up_in_the_background():
    scene = Scene()
    scene.fill(700)
    scene.mark(50)
    scene.mark(100)
    output = await scene.resume(1, 701)
    assert (scene.counting.behind(), scene.counting.num_unpublished()) == (601, 0)
    scene.fill(9, start=700)
    output.add([scene.rows(701, 711)], 711)
    await output.catch_up(asyncio.Event())
    assert scene.counting.behind() == 0
    assert output.due() == ()
    scene.now_s += 10
    scene.write(output.due())
    output.published()
    assert weights(scene.changes()) == weights(scene.expected(100, 711))
    scene.now_s += 10
    assert output.due() == ()
    resumed = await scene.resume(1, 711)
    assert resumed.changes.is_caught_up
    assert resumed.changes.next_offset == 711


async def test_a_listen_that_is_dated_far_ahead_takes_no_count_from_others():
    """Folded now, counted again, and after that: it is counted nowhere."""
    scene, told = Scene(), []
    guard = AheadGuard(600_000, told.append, lambda: NOW_MS)
    scene.counting = ItemCounting(
        TOPICS, "listens", scene.kafka, scene.decode, scene.settings, clock=lambda: scene.now_s, guard=guard
    )
    ahead = json.dumps({"event_id": "e", "user_id": "u", "item_id": "i3", "at": LATEST_UNSTAMPED_AT}).encode()
    for start in (0, 9, 18):
        scene.fill(8, start=start)  # and a malformed one
        scene.kafka.append("listens", 1, b"u", ahead, timestamp=-1)
    scene.mark(0)
    output = await scene.resume(1, 10)
    output.add([scene.rows(10, 20)], 20)
    await output.catch_up(asyncio.Event())
    output.add([scene.rows(20, 30)], 30)
    scene.now_s += 10
    scene.write(output.due())
    sound = [scene.rows(start, start + 9) for start in (0, 10, 20)]
    counts = ListenCounts(scene.settings.decay)
    counts.add(row for rows in sound for _, row in rows)
    assert weights(scene.changes()) == weights(counts.sums())
    assert sum(told) == 3


async def test_a_stop_ends_the_catch_up_and_everything_counted_is_published():
    scene, stop, calls = Scene(), asyncio.Event(), []
    scene.fill(2_000)
    scene.mark(0)
    output = await scene.resume(1, 2_001)
    recount = output.changes.recount

    def stopping(listens, next_offset):
        recount(listens, next_offset)
        calls.append(next_offset)
        if len(calls) == 3:
            stop.set()

    output.changes.recount = stopping
    await output.catch_up(stop)
    assert 0 < output.changes.next_offset < 2_001
    scene.write(output.everything())
    again = await scene.resume(1, 2_001)
    assert again.changes.next_offset == output.changes.next_offset
    await again.catch_up(asyncio.Event())
    scene.write(again.everything())
    assert weights(scene.changes()) == weights(scene.expected(0, 2_001))


async def test_the_first_mark_is_due_before_any_listen():
    scene = Scene()
    scene.fill(5)
    output = await scene.resume(1, 6)
    (record,) = output.due()
    assert (record.topic, record.partition, read_part(record.value).offset) == ("counts", 1, 6)


@pytest.mark.parametrize("half_life_ms", [SETTINGS.decay.half_life_ms, 5])
async def test_marks_of_another_half_life_do_not_count(half_life_ms):
    scene = Scene()
    scene.fill(9)
    scene.mark(3, half_life_ms)
    output = await scene.resume(1, 10)
    assert output.changes.next_offset == (3 if half_life_ms != 5 else 10)


async def test_a_mark_past_the_end_of_the_listens_is_of_another_source(capsys):
    scene = Scene()
    scene.fill(9)
    scene.mark(5_000)
    output = await scene.resume(1, 4)
    assert output.changes.next_offset == 4
    output.add([scene.rows(4, 10)], 10)
    scene.write(output.everything())
    assert weights(scene.changes()) == weights(scene.expected(4, 10))
    # A mark before the end is of this source: the lane folds again what is counted already.
    scene = Scene()
    scene.fill(9)
    scene.mark(8)
    output = await scene.resume(1, 4)
    output.add([scene.rows(4, 10)], 10)
    scene.write(output.everything())
    assert weights(scene.changes()) == weights(scene.expected(8, 10))


async def test_records_that_cannot_be_read_are_skipped():
    scene = Scene()
    scene.fill(9)
    scene.kafka.append("counts", 1, b"nonsense", b"x")
    scene.kafka.append(
        "counts", 1, part_key(0, None), CountedPart(SETTINGS.decay.half_life_ms, 1, Counts.empty()).to_bytes()
    )
    scene.mark(3)
    scene.kafka.append("counts", 1, part_key(1, 7), b"x")
    output = await scene.resume(1, 10)
    assert output.changes.next_offset == 3


async def test_a_broker_that_does_not_answer_holds_nothing_up(monkeypatch):
    """What is not counted stays before the mark; the partition is ready meanwhile."""
    monkeypatch.setattr(count_publisher, "_RETRY_S", 0.001)
    scene, tries = Scene(), []
    scene.fill(9)
    scene.mark(0)
    output = await scene.resume(1, 10)
    read_to_end = count_publisher.read_to_end

    def failing(*args, **options):
        tries.append(args)
        if len(tries) < 3:
            raise count_publisher.SidestreamError("no answer")
        return read_to_end(*args, **options)

    monkeypatch.setattr(count_publisher, "read_to_end", failing)
    await output.catch_up(asyncio.Event())
    assert (len(tries), output.changes.is_caught_up) == (3, True)


async def test_nothing_is_behind_once_the_partitions_are_gone():
    scene = Scene()
    scene.fill(9)
    scene.mark(0)
    output = await scene.resume(1, 10)
    assert scene.counting.behind() == 10
    del output
    assert scene.counting.behind() == 0
