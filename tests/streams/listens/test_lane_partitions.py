"""Partitions of a lane, each by itself: one that Kafka does not answer for delays nobody else, and is opened again."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import ClassVar

import pytest
from aiokafka.errors import KafkaTimeoutError

from sidestream.streams.listens import lane as lane_module
from sidestream.streams.listens import partition_fold, source, standbys
from sidestream.streams.listens.lane import ListenLane
from sidestream.streams.listens.restore import restorer as restoring
from sidestream.streams.listens.table.users import UserTable
from tests.streams.listens.fake_kafka import FakeKafka, FakeProducer
from tests.streams.listens.lane_counts import LaneCounts
from tests.streams.listens.lane_scenes import (
    GUARANTEES,
    IDENTITY,
    PARTITIONS,
    TABLE,
    changelog,
    drain,
    expected,
    fill,
    make_lane,
    run_to_end,
)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("topic", ["changelog", "listens"])
@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_partition_without_a_leader_delays_its_own_users_alone(tmp_path, guarantee, topic):
    kafka = FakeKafka()
    fill(kafka, 60)
    kafka.leaderless = {(topic, 1)}
    lane = make_lane(kafka, tmp_path, guarantee)
    await lane.on_assigned(PARTITIONS)
    await until(lambda: lane.is_ready(0) and lane.folded_to(0) == kafka.end("listens", 0))
    assert not lane.is_ready(1)
    before = lane.work({})
    assert before.waiting > 0
    kafka.leaderless = set()
    await drain(kafka, lane)
    await lane.close()
    assert changelog(kafka) == expected(kafka)
    assert not kafka.crashes


async def test_an_opening_without_an_answer_ends_at_its_limit_and_counts_as_progress(tmp_path, monkeypatch):
    """The watchdog sees attempts: a restart of the process would wait for the same broker."""
    monkeypatch.setattr(partition_fold, "STEP_S", 0.02)
    kafka = FakeKafka()
    kafka.leaderless = {("listens", 1)}
    lane = make_lane(kafka, tmp_path)
    await lane.on_assigned(PARTITIONS)
    await until(lambda: 1 in lane.troubles)
    assert "listens/1" in lane.troubles[1]
    before = lane.work({}).done
    await until(lambda: lane.work({}).done != before)
    await lane.close()
    assert not kafka.crashes


async def test_an_interrupted_partition_is_answered_from_its_table_meanwhile(tmp_path, monkeypatch):
    kafka = FakeKafka()
    kafka.listen(0, "u", 1)
    lane = make_lane(kafka, tmp_path)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    durable = lane.read(0, "u")
    assert durable is not None
    failing, commit = [True], FakeProducer.commit_transaction

    async def unanswered(producer: FakeProducer) -> None:
        if failing[0]:
            raise KafkaTimeoutError
        await commit(producer)

    monkeypatch.setattr(FakeProducer, "commit_transaction", unanswered)
    kafka.listen(0, "u", 2)
    await until(lambda: 0 in lane.troubles)
    assert lane.is_ready(0)
    assert lane.read(0, "u") is not None
    failing[0] = False
    await drain(kafka, lane)
    assert lane.read(0, "u") == expected(kafka)[b"u"]
    assert not lane.troubles
    await lane.close()


async def test_a_restore_without_progress_is_tried_again(tmp_path, monkeypatch):
    kafka = FakeKafka()
    fill(kafka, 60)
    await run_to_end(kafka, tmp_path / "first")
    monkeypatch.setattr(restoring, "STALLED_S", 0.05)
    seen, hidden = kafka.visible, [True]
    kafka.visible = lambda topic, p: [] if hidden[0] and topic == "changelog" else seen(topic, p)

    class Stuck(dict):
        """Positions in a changelog do not move while its records are hidden."""

        def __setitem__(self, tp, position):
            if hidden[0] and tp.topic == "changelog" and tp in self and position > self[tp]:
                return
            super().__setitem__(tp, position)

    consumer = kafka.async_consumer

    def stuck_consumer(**options):
        made = consumer(**options)
        assign = made.assign

        def assign_stuck(tps):
            assign(tps)
            made.positions = Stuck()

        made.assign = assign_stuck
        return made

    kafka.async_consumer = stuck_consumer
    lane = make_lane(kafka, tmp_path / "second")
    await lane.on_assigned(PARTITIONS)
    await until(lambda: any(fold.num_attempts > 1 for fold in lane._folds.values()))
    assert "no further" in str(lane.troubles)
    hidden[0] = False
    await drain(kafka, lane)
    await lane.close()
    assert not kafka.crashes


async def test_records_deleted_behind_the_read_position_stop_the_worker(tmp_path):
    """Retention has overtaken the fold: the same decision as at a start."""
    kafka = FakeKafka()
    fill(kafka, 20)
    lane = make_lane(kafka, tmp_path)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    kafka.log_starts["listens", 0] = kafka.end("listens", 0) + 100
    kafka.logs["listens", 0].clear()
    lane._folds[0].position_lost()
    await until(lambda: kafka.crashes)
    assert "deleted by retention" in str(kafka.crashes[0])
    await lane.close()


def standby_lane(kafka: FakeKafka, folder, standbys: set[int], **options) -> ListenLane:
    kafka.standby_partitions = frozenset(standbys)
    return make_lane(kafka, folder, lane={"standby_replicas": 1}, **options)


async def test_a_standby_follows_its_changelog_and_is_promoted_with_its_tail(tmp_path):
    kafka, counts = FakeKafka(), LaneCounts()
    fill(kafka, 100)
    standby = standby_lane(kafka, tmp_path / "standby", {0}, metrics=counts)
    await standby.on_assigned(set())
    owner = make_lane(kafka, tmp_path / "owner")
    await owner.on_assigned(PARTITIONS)
    await drain(kafka, owner)
    await until(lambda: standby.standbys.lags().get(0) == (0, 0))
    assert standby.tables_in_use() == {0}
    assert not standby.is_ready(0)
    fill(kafka, 20)
    await drain(kafka, owner)
    last = kafka.visible("changelog", 0)[-1].offset
    await until(lambda: standby._table.get(0).positions.changelog_offset == last)
    await until(lambda: standby.standbys.lags() == {0: (0, 0)})  # its records are counted by then
    restored = counts.shown.restored_records._value.get()
    await owner.close()
    kafka.standby_partitions = frozenset()
    await standby.on_assigned(PARTITIONS)
    await drain(kafka, standby)
    assert standby.standbys.lags() == {}
    # Of partition 0, the standby's, nothing is read again.
    assert counts.shown.restored_records._value.get() - restored <= len(kafka.visible("changelog", 1))
    fill(kafka, 30)
    await drain(kafka, standby)
    await standby.close()
    assert changelog(kafka) == expected(kafka)


async def test_a_standby_that_is_given_up_is_closed(tmp_path):
    kafka = FakeKafka()
    lane = standby_lane(kafka, tmp_path, {0, 1})
    await lane.on_assigned(set())
    await until(lambda: len(lane.standbys.lags()) == 2 and all(lag == (0, 0) for lag in lane.standbys.lags().values()))
    kafka.standby_partitions = frozenset({1})
    await lane.on_assigned(set())
    await until(lambda: lane._table.get(0) is None)
    assert lane.tables_in_use() == {1}
    await lane.close()
    tables = UserTable(tmp_path, IDENTITY, TABLE)
    tables.open([0, 1])
    tables.close()


async def test_a_standby_survives_errors_of_the_broker(tmp_path, monkeypatch):
    monkeypatch.setattr(standbys, "RETRY_S", 0.01)
    kafka = FakeKafka()
    fill(kafka, 40)
    await run_to_end(kafka, tmp_path / "owner")
    bounds, failures = restoring.PartitionReader.bounds, [3]

    async def failing(reader, partition):
        if failures[0]:
            failures[0] -= 1
            raise restoring.BrokerError("away")
        return await bounds(reader, partition)

    monkeypatch.setattr(restoring.PartitionReader, "bounds", failing)
    lane = standby_lane(kafka, tmp_path / "standby", {0})
    await lane.on_assigned(set())
    await until(lambda: lane.standbys.lags().get(0) == (0, 0))
    assert failures == [0]
    await lane.close()


async def test_a_standby_that_waits_for_a_broker_leaves_a_partition_to_its_owner(tmp_path, monkeypatch):
    """Were it to follow later, it would write old changelog records into the table of the fold."""
    monkeypatch.setattr(standbys, "RETRY_S", 0.05)
    kafka = FakeKafka()
    fill(kafka, 40)
    await run_to_end(kafka, tmp_path / "owner")
    follow, failures = restoring.Restorer.follow, []

    async def failing(restorer, partition, *args):
        failures.append(partition)
        if len(failures) == 1:
            raise restoring.LaneInterrupted("away")
        await follow(restorer, partition, *args)

    monkeypatch.setattr(restoring.Restorer, "follow", failing)
    lane = standby_lane(kafka, tmp_path / "standby", {0})
    await lane.on_assigned(set())
    await until(lambda: failures)
    kafka.standby_partitions = frozenset()
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    began_s = asyncio.get_running_loop().time()
    await until(lambda: asyncio.get_running_loop().time() - began_s > 3 * standbys.RETRY_S)
    assert failures == [0]
    assert not lane._restorer.follows(0)
    fill(kafka, 20)
    await drain(kafka, lane)
    await lane.close()
    assert changelog(kafka) == expected(kafka)


async def test_a_dead_client_is_replaced_though_it_reports_nothing(tmp_path, monkeypatch):
    """aiokafka's fetch task may end by an error; its consumer then looks like one of an empty topic."""
    monkeypatch.setattr(source, "FAILED_S", 0.001)
    monkeypatch.setattr(lane_module, "LONGEST_PAUSE_S", 0.001)
    kafka = FakeKafka()
    fill(kafka, 20)
    lane = make_lane(kafka, tmp_path)
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    ended = asyncio.get_running_loop().create_future()
    ended.cancel()
    lane._source.reader._consumer._fetcher = SimpleNamespace(_fetch_task=ended)
    fill(kafka, 20)
    await drain(kafka, lane)
    assert not kafka.crashes
    await lane.close()
    assert changelog(kafka) == expected(kafka)


async def test_a_fault_of_derived_output_ends_the_worker(tmp_path):
    class Broken:
        topics: ClassVar = {}

        async def prepare(self, partition):
            pass

        async def resume(self, partition, position):
            return self

        async def catch_up(self, stop):
            raise ZeroDivisionError

        def due(self):
            return ()

        everything = due

    kafka = FakeKafka()
    lane = make_lane(kafka, tmp_path, derived=Broken())
    await lane.on_assigned(PARTITIONS)
    await until(lambda: kafka.crashes)
    assert "ZeroDivisionError" in str(kafka.crashes[0])
    await lane.close()


async def test_partitions_that_stay_go_on_while_others_come_and_go(tmp_path):
    """No new opening, no fence: folds and answers of a partition that stays do not notice a rebalance."""
    kafka = FakeKafka()
    fill(kafka, 30)
    lane = make_lane(kafka, tmp_path)
    await lane.on_assigned({0})
    await until(lambda: lane.is_ready(0) and lane.folded_to(0) == kafka.end("listens", 0))
    stays, epochs = lane._folds[0], dict(kafka.epochs)
    await lane.on_assigned(PARTITIONS)
    assert lane.is_ready(0)
    await drain(kafka, lane)
    assert lane._folds[0] is stays
    await lane.on_assigned({0})
    assert lane.tables_in_use() == {0}
    assert lane._table.get(1) is None
    assert set(lane.unread({0: 99, 1: 99})) == {0}
    fill(kafka, 20)
    await until(lambda: lane.folded_to(0) == kafka.end("listens", 0))
    assert (lane._folds[0], stays.num_attempts) == (stays, 1)
    assert {name: kafka.epochs[name] for name in epochs} == epochs
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    await lane.close()
    assert changelog(kafka) == expected(kafka)
    assert not kafka.crashes


async def test_a_partition_that_is_lost_becomes_a_standby_and_comes_back(tmp_path):
    kafka = FakeKafka()
    fill(kafka, 30)
    lane = standby_lane(kafka, tmp_path, set())
    await lane.on_assigned(PARTITIONS)
    await drain(kafka, lane)
    kafka.standby_partitions = frozenset({1})
    await lane.on_assigned({0})
    await until(lambda: lane.standbys.lags() == {1: (0, 0)})
    assert not lane.is_ready(1)
    kafka.standby_partitions = frozenset()
    await lane.on_assigned(PARTITIONS)
    fill(kafka, 10)
    await drain(kafka, lane)
    await lane.close()
    assert changelog(kafka) == expected(kafka)
    assert not kafka.crashes


async def test_who_is_fenced_before_the_new_assignment_is_known_gives_the_partition_up_in_order(tmp_path, monkeypatch):
    async def until_rebalanced(kafka: FakeKafka) -> bool:
        return await asyncio.Event().wait()

    monkeypatch.setattr(FakeKafka, "confirm_member", until_rebalanced)
    kafka = FakeKafka()
    fill(kafka, 30)
    former, heir = make_lane(kafka, tmp_path / "former"), make_lane(kafka, tmp_path / "heir")
    await former.on_assigned(PARTITIONS)
    await drain(kafka, former)
    await heir.on_assigned({1})
    fill(kafka, 20)
    await until(lambda: heir.folded_to(1) == kafka.end("listens", 1))
    await former.on_assigned({0})
    assert former._table.get(1) is None
    fill(kafka, 20)
    for lane, partition in ((former, 0), (heir, 1)):
        await until(lambda lane=lane, p=partition: kafka.offsets.get(p) == kafka.end("listens", p))
        await lane.close()
    assert changelog(kafka) == expected(kafka)
    assert not kafka.crashes
