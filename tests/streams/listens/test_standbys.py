"""Standbys on an in-memory Kafka: failures of their tables, what counts as held, and who closes a table."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from aiokafka.errors import KafkaError
from structlog.testing import capture_logs

from sidestream.streams.errors import LaneError
from sidestream.streams.listens import standbys as standbys_module
from sidestream.streams.listens.restore import restorer as restoring
from sidestream.streams.listens.restore.changelog import ChangelogReader
from sidestream.streams.listens.restore.followed import FollowedTable
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.restore.source_check import SourceCheck
from sidestream.streams.listens.standbys import Standbys
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.listens.table.users import UserTable
from tests.streams.listens.fake_kafka import FakeConsumer, FakeKafka
from tests.streams.listens.lane_counts import LaneCounts
from tests.streams.listens.lane_scenes import IDENTITY, PARTITIONS, TABLE, changelog, drain, expected, fill, make_lane
from tests.streams.listens.restore.test_restorer import write_changelog

NONE: frozenset[int] = frozenset()
ZERO = frozenset({0})
FULL = "IO error: No space left on device: While appending to file: 000010.log"
DAMAGE = "Corruption: block checksum mismatch"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


class Scene:
    """One worker's standbys, without a lane."""

    def __init__(self, folder):
        self.kafka, self.counts = FakeKafka(), LaneCounts()
        self.tables = UserTable(folder, IDENTITY, TABLE)
        self.restorer = Restorer(IDENTITY, self.kafka, 7, self.counts)
        self.standbys = Standbys(self.tables, self.restorer, SourceCheck(IDENTITY, self.kafka))

    def lag(self, partition=0):
        return self.standbys.lags()[partition]

    async def until_current(self, partition=0):
        await until(lambda: self.standbys.lags().get(partition) == (0, 0))


class Failing:
    """A database whose next writes fail."""

    def __init__(self, database, message, count):
        self._database, self._message, self.left = database, message, count

    def __getattr__(self, name):
        return getattr(self._database, name)

    def write(self, *args):
        if self.left:
            self.left -= 1
            raise Exception(self._message)
        return self._database.write(*args)


class Gate:
    """Holds bulk writes up in their threads."""

    def __init__(self, monkeypatch):
        self.entered, self._open = 0, threading.Event()
        load = PartitionTable.load

        def gated(*args, **options):
            self.entered += 1
            assert self._open.wait(20)
            return load(*args, **options)

        monkeypatch.setattr(PartitionTable, "load", gated)

    def open(self):
        self._open.set()


@pytest.fixture
async def scene(tmp_path, monkeypatch):
    monkeypatch.setattr(standbys_module, "RETRY_S", 0.01)
    monkeypatch.setattr(restoring, "FOLLOW_POLL_MS", 1)
    monkeypatch.setattr(restoring, "FAILED_S", 0.01)
    made = Scene(tmp_path)
    yield made
    await made.standbys.close()
    assert made.restorer._users == 0
    made.tables.close()


async def test_a_full_disk_is_survived_told_and_not_counted_as_held(scene, monkeypatch):
    write_changelog(scene.kafka, 0, 50)
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    table = scene.tables.get(0)
    table._db = failing = Failing(table._db, FULL, 1)
    monkeypatch.setattr(standbys_module, "RETRY_S", 0.1)
    scene.kafka.append("changelog", 0, b"new", b"1")
    with capture_logs() as logs:
        await until(lambda: 0 in scene.standbys.troubles)
        assert FULL in scene.standbys.troubles[0]
        await until(lambda: scene.lag()[0] is None and scene.lag()[1] > 0)
    assert any(FULL in str(line) for line in logs)
    await until(lambda: scene.tables.get(0) not in (None, table) and scene.tables.get(0).get(b"new") == b"1")
    await scene.until_current()
    assert (scene.standbys.troubles, failing.left) == ({}, 0)


async def test_a_time_that_cannot_be_stamped_fails_its_partition_alone(scene, monkeypatch):
    """The table of an empty changelog is stamped as complete, outside of any bulk."""
    scene.standbys.keep(frozenset(PARTITIONS), NONE)
    await scene.until_current(0)
    await scene.until_current(1)
    stamp, failures = FollowedTable.stamp, []

    def full(followed):
        if followed.place.partition == 0 and failures:
            failures.clear()
            raise Exception(FULL)
        stamp(followed)

    monkeypatch.setattr(FollowedTable, "stamp", full)
    fail, failed = FollowedTable.fail, []
    monkeypatch.setattr(
        FollowedTable, "fail", lambda followed, error: (failed.append(followed.place.partition), fail(followed, error))
    )
    failures.append(1)
    await until(lambda: failed)
    await scene.until_current(0)
    await scene.until_current(1)
    assert set(failed) == {0}


async def test_a_damaged_table_is_rebuilt(scene):
    values = write_changelog(scene.kafka, 0, 50)
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    table = scene.tables.get(0)
    table._db = Failing(table._db, DAMAGE, 1)
    scene.kafka.append("changelog", 0, b"new", b"1")
    await until(lambda: scene.tables.get(0) not in (None, table))
    await scene.until_current()
    assert dict(scene.tables.get(0).items()) == {**values, b"new": b"1"}
    assert scene.counts.shown.rebuilt_tables.labels("damaged")._value.get() == 1


async def test_a_table_that_is_rebuilt_was_never_complete(scene, monkeypatch):
    write_changelog(scene.kafka, 0, 7)
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    table = scene.tables.get(0)
    table._db, table.load = Failing(table._db, DAMAGE, 1), table.load
    gate = Gate(monkeypatch)
    scene.kafka.append("changelog", 0, b"new", b"1")
    await until(lambda: gate.entered)
    assert scene.lag()[1] is None
    gate.open()
    await scene.until_current()


async def test_what_is_read_and_not_written_is_behind(scene, monkeypatch):
    gate = Gate(monkeypatch)
    write_changelog(scene.kafka, 0, 7)
    scene.standbys.keep(ZERO, NONE)
    await until(lambda: gate.entered and scene.restorer._followed[0].position == 7)
    assert scene.lag() == (7, None)
    gate.open()
    await scene.until_current()
    assert scene.tables.get(0).positions.changelog_offset == 6


async def test_an_end_from_an_earlier_response_does_not_count(scene, monkeypatch):
    """A consumer knows the end of its last response, which may be from before a pause."""
    monkeypatch.setattr(FakeConsumer, "last_stable_offset", lambda consumer, place: 0)
    monkeypatch.setattr(FakeConsumer, "getmany", lambda *args, **options: asyncio.sleep(0.001, {}))
    write_changelog(scene.kafka, 0, 7)
    scene.standbys.keep(ZERO, NONE)
    await until(lambda: scene.restorer.follows(0))
    assert scene.lag() == (7, None)


async def test_a_lag_grows_while_the_broker_is_away(scene, monkeypatch):
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    table = scene.tables.get(0)

    async def refused(*args, **options):
        raise KafkaError("no")

    with monkeypatch.context() as patch:
        patch.setattr(FakeConsumer, "getmany", refused)
        await until(lambda: (scene.lag()[1] or 0) > 0)
    await scene.until_current()
    assert scene.tables.get(0) is table  # it can be read meanwhile


async def test_a_promotion_that_is_cut_short_ends_its_standby(scene):
    """The next assignment may come before the owner has begun with the partition."""
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    scene.standbys.keep(NONE, ZERO)
    scene.standbys.keep(NONE, NONE)
    await until(lambda: scene.tables.get(0) is None)
    assert not scene.restorer.follows(0)
    assert scene.standbys.partitions == NONE


async def test_a_promotion_that_is_taken_back_leaves_one_follower(scene):
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    scene.standbys.keep(NONE, ZERO)
    scene.standbys.keep(ZERO, NONE)
    scene.kafka.append("changelog", 0, b"new", b"1")
    await until(lambda: (table := scene.tables.get(0)) is not None and table.positions.changelog_offset == 0)
    await scene.until_current()
    assert scene.restorer._users == 1


async def test_the_end_of_a_worker_ends_what_was_promoted(scene):
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    scene.standbys.keep(NONE, ZERO)
    await scene.standbys.close()
    assert (scene.restorer._users, scene.tables.get(0)) == (0, None)


async def test_a_standby_that_fails_while_it_is_promoted_gives_its_owner_a_new_table(scene):
    values = write_changelog(scene.kafka, 0, 50)
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    table = scene.tables.get(0)
    table._db = Failing(table._db, DAMAGE, 99)
    scene.standbys.keep(NONE, ZERO)
    scene.kafka.append("changelog", 0, b"new", b"1")
    await until(lambda: not scene.restorer.follows(0))
    await scene.standbys.hand_over(0)
    opened = scene.tables.open([0])[0]
    assert opened is not table
    await scene.restorer.restore(0, opened)
    assert dict(opened.items()) == {**values, b"new": b"1"}


async def test_a_table_that_is_handed_over_stays_open_and_current(scene):
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    table = scene.tables.get(0)
    scene.standbys.keep(NONE, ZERO)
    await scene.standbys.hand_over(0)
    assert scene.tables.open([0])[0] is table
    scene.kafka.append("changelog", 0, b"new", b"1")
    await until(lambda: table.get(b"new") == b"1")
    await scene.restorer.restore(0, table)
    scene.standbys.keep(NONE, NONE)
    await scene.standbys.close()
    assert scene.tables.get(0) is table


async def test_a_table_that_is_handed_over_and_fails_is_left_to_its_owner(scene):
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    table = scene.tables.get(0)
    table._db = Failing(table._db, FULL, 1)
    scene.standbys.keep(NONE, ZERO)
    await scene.standbys.hand_over(0)
    scene.kafka.append("changelog", 0, b"new", b"1")
    await until(lambda: scene.restorer._users == 0)
    assert scene.tables.get(0) is table
    await scene.restorer.restore(0, table)
    assert table.get(b"new") == b"1"


@pytest.mark.parametrize("is_owner", [False, True])
async def test_who_comes_next_waits_until_a_dropped_table_is_closed(scene, monkeypatch, is_owner):
    values = write_changelog(scene.kafka, 0, 30)
    gate = Gate(monkeypatch)
    scene.standbys.keep(ZERO, NONE)
    await until(lambda: gate.entered)
    dropped = scene.tables.get(0)
    scene.standbys.keep(NONE, NONE)
    scene.standbys.keep(NONE if is_owner else ZERO, ZERO if is_owner else NONE)
    if is_owner:
        handing = asyncio.create_task(scene.standbys.hand_over(0))
        await asyncio.sleep(0)
        assert not handing.done()
        gate.open()
        await handing
        assert scene.tables.get(0) is None
        await scene.restorer.restore(0, scene.tables.open([0])[0])
    else:
        gate.open()
        await scene.until_current()
    assert scene.tables.get(0) is not dropped
    assert dict(scene.tables.get(0).items()) == values


async def test_a_standby_ends_although_its_clean_up_fails(scene, monkeypatch):
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    close, failures = restoring.PartitionReader.close, [1]

    async def failing(reader):
        await close(reader)
        if failures[0]:
            failures[0] -= 1
            raise KafkaError("no")

    monkeypatch.setattr(restoring.PartitionReader, "close", failing)
    scene.standbys.keep(NONE, NONE)
    await scene.standbys.hand_over(0)
    assert (scene.tables.get(0), failures) == (None, [0])


async def test_standbys_go_on_beside_a_restore(scene):
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    values = write_changelog(scene.kafka, 1, 50)
    table = scene.tables.open([1])[1]
    await scene.restorer.restore(1, table)
    assert dict(table.items()) == values
    for number in range(3):  # a fetch may have begun before the restore ended
        scene.kafka.append("changelog", 0, b"new%d" % number, b"1")
        await until(lambda key=b"new%d" % number: scene.tables.get(0).get(key) == b"1")


async def test_a_restore_that_begins_while_its_standby_fails_follows_the_partition_itself(scene, monkeypatch):
    values = write_changelog(scene.kafka, 0, 30)
    scene.standbys.keep(ZERO, NONE)
    await scene.until_current()
    scene.standbys.keep(NONE, ZERO)
    await scene.standbys.hand_over(0)
    stable_end = ChangelogReader.stable_end

    async def fails_meanwhile(changelog, partition):
        scene.restorer._followed[partition].fail(LaneError("meanwhile"))
        scene.kafka.append("changelog", 0, b"new", b"1")
        return await stable_end(changelog, partition)

    monkeypatch.setattr(ChangelogReader, "stable_end", fails_meanwhile)
    table = scene.tables.open([0])[0]
    async with asyncio.timeout(restoring.STALLED_S / 4):
        await scene.restorer.restore(0, table)
    assert dict(table.items()) == {**values, b"new": b"1"}


async def test_a_lane_that_loses_a_promoted_partition_before_its_consumers_are_open_closes_it(tmp_path, monkeypatch):
    kafka = FakeKafka()
    fill(kafka, 30)
    kafka.standby_partitions = frozenset({1})
    lane = make_lane(kafka, tmp_path, lane={"standby_replicas": 1})
    await lane.on_assigned(set())
    await until(lambda: lane.standbys.lags().get(1) == (0, 0))
    opening = asyncio.Event()
    start = FakeConsumer.start

    async def away(consumer):
        await opening.wait()
        await start(consumer)

    monkeypatch.setattr(FakeConsumer, "start", away)
    kafka.standby_partitions = NONE
    await lane.on_assigned(PARTITIONS)
    assert lane._source is None
    await lane.on_assigned({0})
    await until(lambda: lane._table.get(1) is None)
    opening.set()
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    await lane.close()
    assert changelog(kafka) == expected(kafka)
    assert not kafka.crashes


async def test_a_lane_tells_which_of_its_tables_are_current(tmp_path, monkeypatch):
    kafka = FakeKafka()
    fill(kafka, 30)
    kafka.standby_partitions = frozenset({1})
    lane = make_lane(kafka, tmp_path, lane={"standby_replicas": 1})
    assert lane.held_tables() == (NONE, NONE)
    await lane.on_assigned({0})
    await until(lambda: lane.held_tables().current == frozenset({0, 1}))
    assert lane.held_tables().on_disk == frozenset({0, 1})
    monkeypatch.setattr(standbys_module, "CURRENT_RECORDS", -1)
    assert lane.held_tables().current == ZERO
    await lane.on_assigned(set())
    assert lane.held_tables() == (NONE, frozenset({0, 1}))
    await lane.close()
    without = make_lane(kafka, tmp_path)
    assert without.held_tables() is None
    await without.close()
