"""The aggregator on an in-memory Kafka: every change is in the totals once, whatever ends it."""

import asyncio

import numpy as np
import pytest
from aiokafka.errors import NotEnoughReplicasError, OffsetOutOfRangeError
from structlog.testing import capture_logs

from sidestream.streams.contracts.topics import TopicState
from sidestream.streams.errors import LaneError, LaneFenced
from sidestream.streams.listens.durable.guarantee import make_writer
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.popularity import aggregator
from sidestream.streams.popularity.aggregator import Aggregator
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import CountedPart, read_part, read_total_key
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer
from sidestream.tokenizer.popularity import Counts, merge_counts
from tests.streams.listens.fake_kafka import NOW_MS, FakeConsumer, FakeKafka
from tests.streams.popularity.counted_log import as_dict

SETTINGS = PopularitySettings(publish_s=0.001)
PARTITIONS = {0, 1}


class Scene:
    def __init__(self, guarantee="exactly_once", settings=SETTINGS, **options):
        self.kafka, self.metrics = FakeKafka(), Metrics()
        self.kafka.topics |= {name: TopicState(2, None) for name in ("changes", "totals")}
        self.guarantee, self.settings, self.options = guarantee, settings, options
        self.sent, self.lane = [], self.make()

    def make(self):
        lane = LaneSettings(guarantee=self.guarantee)
        writer = make_writer(lane, self.kafka, TableIdentity("changes", "totals", 2), "group", Pacer())
        return Aggregator(
            self.kafka, self.kafka, "changes", "totals", writer, self.settings, self.metrics, **self.options
        )

    def change(self, number, partition=None, half_life_ms=SETTINGS.decay.half_life_ms):
        """A partition of the listens publishes changes of one range."""
        partition = number % 2 if partition is None else partition
        rng = np.random.default_rng(number)
        keys = np.unique(rng.integers(0, 40, 12).astype(np.uint64) * np.uint64(3) << np.uint64(56))
        keys = (keys >> np.uint64(1)) | (np.uint64(partition) << np.uint64(63))
        counts = Counts.from_step(16 * number % 64, keys, rng.integers(1, 9, keys.size))
        self.kafka.append("changes", partition, b"7", CountedPart(half_life_ms, number, counts).to_bytes())
        if half_life_ms == SETTINGS.decay.half_life_ms:
            self.sent.append(counts)

    def totals(self):
        found = {}
        for partition in PARTITIONS:
            for record in self.kafka.visible("totals", partition):
                part, counted = read_total_key(record.key), read_part(record.value)
                assert part >> 7 == partition
                found[part] = counted.counts
        return as_dict(merge_counts(list(found.values())))

    @property
    def expected(self):
        return as_dict(merge_counts(self.sent))

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    async def aggregate(self):
        await self.lane.on_assigned(PARTITIONS)
        await self.until(lambda: self.totals() == self.expected)
        await self.lane.on_revoked(PARTITIONS)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_totals_are_the_sum_of_all_changes_over_many_owners(guarantee):
    scene = Scene(guarantee)
    for number in range(60):
        scene.change(number)
        if number % 20 == 19:
            await scene.aggregate()
            scene.kafka.offsets.update(scene.lane.committable())
            scene.lane = scene.make()
    assert not scene.kafka.crashes
    assert scene.kafka.offsets == {p: len(scene.kafka.logs["changes", p]) for p in PARTITIONS}
    assert scene.metrics.popularity_changes.labels("applied")._value.get() == 60


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_a_lost_commit_counts_nothing_twice(guarantee):
    scene = Scene(guarantee)
    for number in range(10):
        scene.change(number)
    await scene.aggregate()
    scene.kafka.offsets.clear()
    scene.lane = scene.make()
    scene.change(10)
    await scene.aggregate()


async def test_everything_is_published_when_it_stops():
    scene = Scene(settings=PopularitySettings(publish_s=3_600))
    for number in range(10):
        scene.change(number)
    await scene.lane.on_assigned(PARTITIONS)
    await scene.until(lambda: scene.metrics.popularity_changes.labels("applied")._value.get() == 10)
    assert scene.totals() == {}
    await scene.lane.on_revoked(PARTITIONS)
    assert scene.totals() == scene.expected


async def test_totals_of_many_items_are_published_less_often():
    now_s = [100.0]
    scene = Scene(settings=PopularitySettings(publish_s=10, totals_bytes_per_s=1_024), clock=lambda: now_s[0])
    scene.kafka.append("changes", 0, b"7", large := CountedPart(SETTINGS.decay.half_life_ms, 1, many()).to_bytes())
    await scene.lane.on_assigned(PARTITIONS)
    await scene.until(lambda: scene.lane._next_s)
    now_s[0] += 10
    await scene.until(lambda: scene.totals())
    await scene.until(lambda: scene.lane._next_s[0] > 111)
    assert scene.lane._next_s[0] - 110 == pytest.approx(len(large) / 1_024, rel=0.02)
    await scene.lane.on_revoked(PARTITIONS)


def many():
    return Counts(0, np.arange(2_000, dtype=np.uint64), np.ones(2_000))


async def test_it_begins_again_where_the_broker_fails(monkeypatch):
    monkeypatch.setattr(aggregator, "_RETRY_S", 0.001)
    scene = Scene()
    scene.kafka.refusals = [NotEnoughReplicasError() for _ in range(7)]
    for number in range(10):
        scene.change(number)
    await scene.aggregate()
    assert not scene.kafka.crashes
    assert not scene.kafka.refusals


async def test_a_fenced_aggregator_ends_its_worker():
    scene = Scene()
    await scene.lane.on_assigned(PARTITIONS)
    await scene.until(lambda: scene.lane._reading)
    other = Scene.make(scene)
    await other.on_assigned(PARTITIONS)
    await scene.until(lambda: other._reading)
    scene.change(1)
    await scene.until(lambda: scene.kafka.crashes)
    assert isinstance(scene.kafka.crashes[0], LaneFenced)
    await scene.until(lambda: scene.totals() == scene.expected)
    await other.on_revoked(PARTITIONS)


async def test_after_a_publication_that_was_cut_short_nothing_more_is_published():
    """The broker may have kept it: only what the topic holds counts, and the next owner goes on from there."""
    scene = Scene()
    publish, waiting = scene.lane._writer.publish, asyncio.Event()

    async def never(batch):
        waiting.set()
        await asyncio.Event().wait()

    scene.lane._writer.publish = never
    scene.change(2)
    await scene.lane.on_assigned(PARTITIONS)
    await waiting.wait()
    scene.lane._writer.publish = publish
    scene.lane._stop.set()
    await scene.lane.on_revoked(PARTITIONS)
    assert scene.totals() == {}
    assert scene.kafka.offsets == {}
    scene.lane = scene.make()
    await scene.aggregate()


async def test_changes_that_cannot_be_read_or_have_another_half_life_are_skipped():
    scene = Scene()
    scene.kafka.append("changes", 0, b"7", b"nonsense")
    scene.kafka.append("changes", 0, b"7", None)
    scene.change(2, half_life_ms=5)
    scene.change(4)
    scene.kafka.append("totals", 0, b"nonsense", b"x")
    scene.kafka.append("totals", 0, b"00", CountedPart(5, 9, many()).to_bytes())
    await scene.lane.on_assigned(PARTITIONS)
    await scene.until(lambda: scene.kafka.offsets.get(0) == 4)
    await scene.lane.on_revoked(PARTITIONS)
    found = scene.metrics.popularity_changes
    assert [found.labels(name)._value.get() for name in ("malformed", "other_half_life", "applied")] == [2, 1, 1]


async def test_changes_that_are_dated_ahead_of_their_publication_are_skipped():
    scene = Scene()
    for number in range(6):
        scene.change(number)
    landmark = (NOW_MS + 30 * 86_400_000) // SETTINGS.decay.half_life_ms
    for partition in PARTITIONS:
        key = np.array([partition << 63], np.uint64)
        ahead = CountedPart(SETTINGS.decay.half_life_ms, 9, Counts(landmark, key, np.ones(1)))
        scene.kafka.append("changes", partition, b"7", ahead.to_bytes())
    scene.change(6)
    scene.change(7)
    await scene.aggregate()
    assert scene.metrics.popularity_changes.labels("ahead")._value.get() == 2


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_changes_that_were_deleted_unread_are_told(guarantee):
    scene = Scene(guarantee)
    for number in range(10):
        scene.change(number, partition=0)
    await scene.aggregate()
    # At least once, the committed offset may lag behind what is published.
    scene.kafka.offsets.update({0: 8} if guarantee == "at_least_once" else {})
    unread = [10, 11, 12]
    for number in unread:
        scene.change(number, partition=0)
    log = scene.kafka.logs["changes", 0]
    begin = log[-1].offset
    del log[: len(log) - 1], scene.sent[-3:-1]
    scene.kafka.log_starts["changes", 0] = begin
    scene.lane = scene.make()
    with capture_logs() as logs:
        await scene.aggregate()
    assert [(line["lost"], line["begin"]) for line in logs if "deleted before" in line["event"]] == [(2, begin)]
    assert scene.metrics.popularity_changes.labels("deleted")._value.get() == 2


async def test_changes_that_are_deleted_under_the_reader_are_told(monkeypatch):
    monkeypatch.setattr(aggregator, "_RETRY_S", 0.001)
    scene, real, asked = Scene(), FakeKafka.async_consumer, []

    def async_consumer(kafka, **options):
        if "fetch_min_bytes" in options:  # the reader of changes
            asked.append(options["auto_offset_reset"])
        return real(kafka, **options)

    monkeypatch.setattr(FakeKafka, "async_consumer", async_consumer)
    monkeypatch.setattr(FakeConsumer, "getmany", out_of_range := overtaken(FakeConsumer.getmany))
    scene.change(0)
    scene.change(2)
    await scene.aggregate()
    assert asked == ["none"]
    scene.kafka.log_starts["changes", 0] = 9
    scene.kafka.logs["changes", 0].clear()
    scene.kafka.offsets[0] = 2
    out_of_range.left = 1
    scene.lane = scene.make()
    with capture_logs() as logs:
        await scene.lane.on_assigned(PARTITIONS)
        await scene.until(lambda: not out_of_range.left and scene.lane._reading)
        await scene.lane.on_revoked(PARTITIONS)
    assert {line["lost"] for line in logs if "deleted before" in line["event"]} == {7}


def overtaken(real):
    """The first fetch of a reader of changes is out of range."""

    async def getmany(consumer, *only, **options):
        changes = [place for place in consumer.positions if place.topic == "changes"]
        if getmany.left and changes:
            getmany.left -= 1
            raise OffsetOutOfRangeError({changes[0]: 2})
        return await real(consumer, *only, **options)

    getmany.left = 0
    return getmany


async def test_totals_of_recreated_changes_are_kept_and_go_on():
    scene = Scene()
    for number in range(10):
        scene.change(number)
    await scene.aggregate()
    for partition in PARTITIONS:
        scene.kafka.logs["changes", partition].clear()
    scene.lane = scene.make()
    scene.change(20)
    scene.change(21)
    await scene.aggregate()


async def test_it_waits_for_the_restore_of_the_listen_lane(monkeypatch):
    monkeypatch.setattr(aggregator, "_CHECK_RESTORE_S", 0.001)
    restoring = [True]
    scene = Scene(is_restoring=lambda: restoring[0])
    scene.change(1)
    await scene.lane.on_assigned(PARTITIONS)
    await asyncio.sleep(0.01)
    assert scene.kafka.steps == []
    assert scene.lane.work({0: 9}).waiting == 0
    restoring[0] = False
    await scene.until(lambda: scene.totals() == scene.expected)
    assert scene.lane.work({0: 9, 1: 9}).waiting > 0
    assert scene.lane.unread({1: 9})[1] == 8
    await scene.lane.on_revoked(PARTITIONS)
    assert scene.lane.unread({1: 9}) == {}


async def test_an_unexpected_error_ends_the_worker_in_one_line(monkeypatch):
    scene = Scene()

    def fail(*args):
        raise RuntimeError("a\nb")

    monkeypatch.setattr(aggregator, "RangeTotals", fail)
    await scene.lane.on_assigned(PARTITIONS)
    await scene.until(lambda: scene.kafka.crashes)
    assert isinstance(scene.kafka.crashes[0], LaneError)
    assert "must restart" in str(scene.kafka.crashes[0])
