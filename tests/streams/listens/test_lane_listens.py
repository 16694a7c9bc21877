"""The listen lane on an in-memory Kafka: order of its steps, crashes between them, and what it rejects."""

import asyncio
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestream.models.history import split_block_key
from sidestream.streams.errors import LaneError
from sidestream.streams.listens.durable.idempotent import IdempotentWriter
from sidestream.streams.listens.durable.writer import DerivedRecord, FoldedBatch
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin
from sidestream.streams.listens.source import ListenSource
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.users import UserTable
from tests.streams.listens.fake_kafka import Crash, FakeKafka
from tests.streams.listens.lane_scenes import (
    GUARANTEES,
    IDENTITY,
    PARTITIONS,
    TABLE,
    bad_records,
    changelog,
    dead_letters,
    done,
    drain,
    expected,
    fill,
    make_lane,
    run_to_end,
)


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_table_changelog_and_dead_letters_after_a_quiet_run(tmp_path, guarantee):
    kafka = FakeKafka()
    fill(kafka, 100)
    fill(kafka, 150, users=2)
    values = await run_to_end(kafka, tmp_path, guarantee)
    assert values == expected(kafka) == changelog(kafka)
    assert any(split_block_key(key) for key in values)
    assert dead_letters(kafka) == bad_records(kafka)
    assert kafka.offsets == {p: kafka.end("listens", p) for p in PARTITIONS}
    assert not kafka.crashes


@settings(max_examples=8, deadline=None)
@given(
    crashes=st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.booleans()), max_size=4),
    more=st.integers(1, 40),
    users=st.sampled_from([2, 9]),
)
def test_crashes_between_acks_never_lose_or_duplicate_a_listen(crashes, more, users):
    async def scenario(folder: Path) -> None:
        kafka = FakeKafka()
        fill(kafka, 130, users)
        for number, (acks, lose_table, commit) in enumerate(crashes):
            kafka.acks_left = acks
            generation = folder / str(number if lose_table else "kept")
            before = dict(kafka.offsets)
            await run_to_end(kafka, generation, "at_least_once")
            if not commit:
                kafka.offsets = before
            kafka.crashes.clear()
            fill(kafka, more, users)
        kafka.acks_left = None
        assert await run_to_end(kafka, folder / "kept", "at_least_once") == expected(kafka) == changelog(kafka)
        assert await run_to_end(kafka, folder / "rebuilt", "at_least_once") == expected(kafka)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


async def test_crash_reaches_the_host_once_in_one_line(tmp_path):
    kafka = FakeKafka()
    fill(kafka, 30)
    kafka.acks_left = 0
    await run_to_end(kafka, tmp_path)
    assert [type(reason) for reason in kafka.crashes] == [LaneError]
    assert "\n" not in str(kafka.crashes[0])
    assert Crash.__name__ in str(kafka.crashes[0])


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_source_offset_is_not_committed_before_the_changelog_has_it(tmp_path, guarantee):
    kafka = FakeKafka()
    fill(kafka, 30)
    kafka.acks_left = 1
    await run_to_end(kafka, tmp_path, guarantee)
    folded = set(changelog(kafka))
    for partition, offset in kafka.offsets.items():
        done = [r for r in kafka.logs["listens", partition] if r.offset < offset and r.value not in (b"{bad", None)]
        assert {r.key for r in done} <= folded


async def test_table_that_does_not_fit_the_changelog_is_rebuilt(tmp_path):
    kafka = FakeKafka()
    fill(kafka, 40)
    await run_to_end(kafka, tmp_path)
    foreign = UserTable(tmp_path, IDENTITY, TABLE)
    foreign.open([0])[0].write({b"ghost": b"x"}, Positions(10_000, kafka.end("listens", 0)))
    foreign.close()
    await run_to_end(kafka, tmp_path)
    tables = UserTable(tmp_path, IDENTITY, TABLE)
    assert tables.open([0])[0].get(b"ghost") is None
    assert {k: v for t in tables.open([0, 1]).values() for k, v in t.items()} == expected(kafka)
    tables.close()


async def test_recreated_source_topic_is_rejected(tmp_path):
    kafka = FakeKafka()
    fill(kafka, 40)
    await run_to_end(kafka, tmp_path)
    for partition in PARTITIONS:
        kafka.logs["listens", partition].clear()
    kafka.listen(0, "u0", 1)
    await run_to_end(kafka, tmp_path)
    assert "source topic recreated or truncated: expected" in str(kafka.crashes[0])


async def test_listens_deleted_before_they_were_folded_stop_the_worker(tmp_path):
    """Until an operator has decided: users would silently miss what they heard."""
    kafka = FakeKafka()
    kafka.log_starts["listens", 0] = 100
    kafka.offsets = {0: 20}
    kafka.append("changelog", 0, ORIGIN_KEY, Origin("listens", None, 2).to_bytes())
    for number in range(5):
        kafka.listen(0, "u", number)
    await run_to_end(kafka, tmp_path)
    assert "listens 20 to 99 were deleted" in str(kafka.crashes[0])
    assert "state skip-lost" in str(kafka.crashes[0])
    assert kafka.offsets[0] == 20
    kafka.crashes.clear()
    kafka.offsets[0] = 100
    assert await run_to_end(kafka, tmp_path) == expected(kafka)


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_reader_sees_folded_values_before_they_are_durable(tmp_path, guarantee):
    kafka = FakeKafka()
    lane = make_lane(kafka, tmp_path, guarantee)
    release = asyncio.Event()
    publish = lane._writer.publish

    async def slow(batch: FoldedBatch) -> int | None:
        if ORIGIN_KEY not in batch.values:
            await release.wait()
        return await publish(batch)

    lane._writer.publish = slow  # type: ignore[method-assign]
    kafka.listen(0, "u", 1)
    await lane.on_assigned(PARTITIONS)
    await lane.wait_ready()
    async with asyncio.timeout(10):
        while lane.read(0, "u") is None:
            await asyncio.sleep(0.001)
    assert done(kafka, lane).get(0, 0) == 0
    assert lane.read(0, "u") == expected(kafka)[b"u"]
    release.set()
    await drain(kafka, lane)
    assert lane.read(0, "u") == expected(kafka)[b"u"]
    await lane.on_revoked(PARTITIONS)


async def test_only_owned_and_restored_partitions_are_read(tmp_path):
    kafka = FakeKafka()
    lane = make_lane(kafka, tmp_path)
    with pytest.raises(LaneError, match="not open here"):
        lane.read(0, "u")
    await lane.on_assigned({0})
    await lane.wait_ready()
    assert (lane.is_ready(0), lane.is_ready(1)) == (True, False)
    assert lane.read(0, "u") is None
    await lane.on_revoked({0})
    assert not lane.is_ready(0)
    with pytest.raises(LaneError):
        lane.read(0, "u")


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_revocation_does_not_wait_long_for_a_batch_in_flight(tmp_path, guarantee):
    """The next owner fences a transaction; without one, this process must end."""
    kafka = FakeKafka(session_timeout_ms=1_000)
    lane = make_lane(kafka, tmp_path, guarantee)
    publish, waiting = lane._writer.publish, asyncio.Event()

    async def never(batch: FoldedBatch) -> int | None:
        if ORIGIN_KEY in batch.values:
            return await publish(batch)
        waiting.set()
        return await asyncio.Event().wait()

    lane._writer.publish = never  # type: ignore[method-assign]
    kafka.listen(0, "u", 1)
    await lane.on_assigned(PARTITIONS)
    await waiting.wait()
    if guarantee == "exactly_once":
        await lane.on_revoked(PARTITIONS)
        assert not kafka.crashes
    else:
        with pytest.raises(LaneError, match="did not end within"):
            await lane.on_revoked(PARTITIONS)


async def test_a_revocation_does_not_wait_for_derived_output(tmp_path):
    """Its broker may be gone, and nothing of a batch is lost: the next owner publishes again."""
    kafka = FakeKafka(session_timeout_ms=5_000)
    lane = make_lane(kafka, tmp_path, derived=Derived())
    publish, waiting = lane._writer.publish, asyncio.Event()

    async def never_derived(batch: FoldedBatch) -> int | None:
        if batch.derived:
            waiting.set()
            await asyncio.Event().wait()
        return await publish(batch)

    lane._writer.publish = never_derived  # type: ignore[method-assign]
    kafka.listen(0, "u", 1)
    await lane.on_assigned(PARTITIONS)
    async with asyncio.timeout(20):
        await waiting.wait()
    await lane.on_revoked(PARTITIONS)
    assert not kafka.crashes


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_derived_output_has_durable_listens_and_is_published_when_the_lane_stops(tmp_path, guarantee):
    kafka, derived = FakeKafka(), Derived(is_due=False)
    for number in range(9):
        kafka.listen(0, "u", number)
    lane = make_lane(kafka, tmp_path, guarantee, derived=derived)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    await lane.on_revoked(PARTITIONS)
    assert (derived.added, derived.num_published) == (9, 1)
    (record,) = kafka.visible("counts", 1)
    assert (record.key, record.value) == (b"k", b"v")
    assert not kafka.crashes


async def test_records_that_are_due_before_the_fold_begins_are_published(tmp_path, monkeypatch):
    """The source looks for due records as soon as it knows of a partition."""
    begin = ListenSource.begin

    def begin_and_tick(source, partition, folding):
        begin(source, partition, folding)
        folding.tick(0)

    monkeypatch.setattr(ListenSource, "begin", begin_and_tick)
    kafka, derived = FakeKafka(), Derived()
    lane = make_lane(kafka, tmp_path, derived=derived)
    kafka.listen(0, "u", 1)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    await lane.on_revoked(PARTITIONS)
    assert (derived.num_due, derived.num_published) == (1, 2)
    assert not kafka.crashes


async def test_records_that_were_due_when_the_lane_stopped_are_published(tmp_path):
    kafka, derived = FakeKafka(), DueAtTheStop()
    lane = make_lane(kafka, tmp_path, derived=derived)
    kafka.listen(0, "u", 1)
    await lane.on_assigned(PARTITIONS)
    derived.stop = lane._stop
    await drain(kafka, lane)
    async with asyncio.timeout(20):
        await lane._stop.wait()
    await lane.on_revoked(PARTITIONS)
    assert [record.key for record in kafka.visible("counts", 1)] == [b"due", b"k"]
    assert not kafka.crashes


class Derived:
    """Output of a partition that has a record unless one is in flight; it is due once, or never."""

    topics: ClassVar = {"counts": 2}

    def __init__(self, is_due=True):
        self.is_due, self.in_flight = is_due, False
        self.added = self.num_due = self.num_published = 0

    def add(self, by_user, next_offset):
        self.added += sum(map(len, by_user))

    async def prepare(self, partition):
        pass

    async def resume(self, partition, position):
        return self if partition == 0 else Nothing()

    async def catch_up(self, stop):
        pass

    def due(self):
        if not self.is_due or self.num_due:
            return ()
        self.num_due += 1
        return self.everything()

    def everything(self):
        if self.in_flight:
            return ()
        self.in_flight = True
        return [DerivedRecord("counts", 1, b"k", b"v")]

    def published(self):
        self.in_flight = False
        self.num_published += 1


class DueAtTheStop(Derived):
    """Output whose record is due just when the lane is told to stop."""

    stop = None

    def due(self):
        if not self.added or self.stop.is_set():
            return ()
        self.stop.set()
        self.in_flight = True
        return [DerivedRecord("counts", 1, b"due", b"v")]


class Nothing(Derived):
    """Output of a partition that has none."""

    def everything(self):
        return ()


async def test_a_process_paused_past_its_session_writes_nothing(tmp_path):
    kafka = FakeKafka()
    times = iter([0.0, 0.0])  # made, begun
    lane = make_lane(kafka, tmp_path, "at_least_once", clock=lambda: next(times, 100.0))
    kafka.listen(0, "u", 1)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    await lane.on_revoked(PARTITIONS)
    assert "was paused for 100.0 s" in str(kafka.crashes[0])
    assert changelog(kafka) == {}


async def test_foreign_writes_to_the_changelog_are_detected():
    kafka = FakeKafka()
    writer = IdempotentWriter("changelog", kafka, 1_000)
    await writer.open(0)
    writer.set_changelog_end(0, 0)
    assert await writer.publish(FoldedBatch(0, {bytes([n]): b"v" for n in range(7)}, [], 7)) == 6
    assert await writer.publish(FoldedBatch(0, {}, [], 9)) is None
    kafka.append("changelog", 0, b"theirs", b"v")
    with pytest.raises(LaneError, match="expected our batch at offset 7, got 8: another worker"):
        await writer.publish(FoldedBatch(0, {b"ours": b"v"}, [], 10))
    await writer.close(0)
    with pytest.raises(LaneError, match="closed"):
        await writer.publish(FoldedBatch(0, {b"ours": b"v"}, [], 10))


async def test_folded_to_is_the_offset_visible_in_states(tmp_path):
    kafka = FakeKafka()
    fill(kafka, 40)
    for partition in PARTITIONS:
        marker = kafka.append("listens", partition, None, None)
        kafka.hidden.add(("listens", partition, marker))
    ends = {partition: kafka.end("listens", partition) for partition in PARTITIONS}
    lane = make_lane(kafka, tmp_path)
    assert lane.folded_to(0) is None
    await lane.on_assigned(PARTITIONS)
    async with asyncio.timeout(20):
        while {partition: lane.folded_to(partition) for partition in PARTITIONS} != ends:
            await asyncio.sleep(0.001)
    assert lane.unread({0: ends[0] + 3, 1: ends[1]}) == {0: 3, 1: 0}
    await lane.on_revoked(PARTITIONS)
    assert lane.folded_to(0) is None
    assert lane.unread(ends) == {}
