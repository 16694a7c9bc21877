"""Faust integration of the lanes: registration, commits, dropped records, order in which lanes stop."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import faust
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from sidestream.streams.errors import LaneError, SettingsError
from sidestream.streams.group import faust_app, transport
from sidestream.streams.group.faust_app import check_versions, make_faust_app
from sidestream.streams.group.host import FaustHost, register
from sidestream.streams.group.transport import LaneTransport
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.records.aiokafka_records import TolerantRecords
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.runtime.lane_protocol import HeldTables
from tests.streams.listens.lane_counts import LaneCounts


class Lane:
    """A lane that records its calls."""

    def __init__(self, topic: str, notes: list[tuple], offsets: dict[int, int]) -> None:
        self.topic = topic
        self.notes = notes
        self.offsets = offsets
        self.fails, self.held = False, None

    async def on_assigned(self, partitions) -> None:
        self.notes.append(("assigned", self.topic, set(partitions)))

    async def on_revoked(self, partitions) -> None:
        self.notes.append(("revoked", self.topic, set(partitions)))
        if self.fails:
            raise LaneError("stuck")

    def committable(self) -> dict[int, int]:
        return self.offsets

    def held_tables(self) -> HeldTables | None:
        return self.held


@pytest.fixture
def counts() -> LaneCounts:
    return LaneCounts()


@pytest.fixture
async def app(tmp_path, counts) -> AsyncIterator[faust.App]:
    clients = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
    app = make_faust_app("test", clients, LaneSettings(), tmp_path / "new" / "folder", counts)
    app.finalize()
    yield app
    if app._consumer is not None:
        app._consumer._thread.thread_loop.close()


@pytest.fixture
def notes() -> list[tuple]:
    return []


@pytest.fixture
def lanes(app, notes) -> list[Lane]:
    lanes = [Lane("listens", notes, {0: 5, 1: 9}), Lane("sessions", notes, {1: 3})]
    for lane in lanes:
        register(app, lane)
    return lanes


def listening_consumer(app, monkeypatch, notes):
    """Faust's consumer without Faust's own part of a rebalance."""
    consumer = app.consumer

    async def note(name, *args):
        notes.append((name,))

    monkeypatch.setattr(Consumer, "on_partitions_assigned", lambda self, *args: note("faust assigned"))
    monkeypatch.setattr(Consumer, "on_partitions_revoked", lambda self, *args: note("faust revoked"))
    monkeypatch.setattr(Consumer, "commit", lambda self, *args, **kwargs: note("commit"))
    return consumer


async def test_safe_settings_are_applied(app):
    conf = app.conf
    assert isinstance(app.transport, LaneTransport)
    assert app.producer_transport is app.transport
    assert (conf.stream_wait_empty, conf.web_enabled, conf.topic_allow_declare) == (False, False, False)
    assert (conf.topic_disable_leader, conf.broker_max_poll_records) == (True, 500)
    assert (conf.broker_session_timeout, conf.broker_heartbeat_interval, conf.broker_rebalance_timeout) == (10, 0.5, 30)
    assert conf.consumer_auto_offset_reset == "earliest"
    assert conf.processing_guarantee.value == "at_least_once"
    assert app.producer._settings_extra() == {"acks": "all", "enable_idempotence": True}


@pytest.mark.parametrize("kind", ["Table", "SetTable", "GlobalTable", "SetGlobalTable"])
async def test_faust_tables_are_rejected(app, kind):
    with pytest.raises(SettingsError, match="UserTable"):
        getattr(app, kind)("counts", default=int)


async def test_concurrent_agents_are_rejected(app):
    with pytest.raises(SettingsError, match="#606"):
        app.agent(app.topic("items"), concurrency=2)
    assert app.agent(app.topic("items"), name="one")(lambda stream: stream).concurrency == 1


async def test_co_partitioning_assignor_is_used(app, lanes):
    thread = app.consumer._thread
    consumer = thread._create_worker_consumer(app.transport)
    assert thread._assignor is app.assignor
    assert consumer._fetch_max_wait_ms == 500
    await consumer.stop()


async def test_fausts_own_consumer_reads_as_all_others_do(tmp_path, counts):
    clients = Clients(KafkaSettings(bootstrap="127.0.0.1:1", client_rack="zone-a"))
    app = make_faust_app("test", clients, LaneSettings(), tmp_path, counts)
    app.finalize()
    consumer = app.consumer._thread._create_worker_consumer(app.transport)
    ours = clients.async_consumer()
    for one in (consumer, ours):
        assert (one._isolation_level, one._client_rack) == ("read_committed", "zone-a")
        await one.stop()
    assert fetcher.PartitionRecords is TolerantRecords
    app.consumer._thread.thread_loop.close()


async def test_lane_topics_are_subscribed(app, lanes):
    assert {name for topic in app.topics for name in topic.topics} == {"listens", "sessions"}


async def test_second_lane_of_a_topic_is_rejected(app, lanes, notes):
    with pytest.raises(SettingsError, match="second one"):
        register(app, Lane("listens", notes, {}))


async def test_app_with_another_transport_is_rejected(notes):
    with pytest.raises(SettingsError, match="make_faust_app"):
        register(faust.App("stock", broker="kafka://127.0.0.1:1"), Lane("listens", notes, {}))


async def test_rebalance_notifies_lanes_in_order_and_commits_between(app, lanes, notes, monkeypatch):
    consumer = listening_consumer(app, monkeypatch, notes)
    await consumer.on_partitions_revoked(set())
    assigned = {TP("listens", 0), TP("listens", 1), TP("sessions", 1), TP("other", 0)}
    await consumer.on_partitions_assigned(assigned, 1)
    await consumer.on_partitions_revoked(assigned)
    assert notes == [
        ("faust revoked",),
        ("faust assigned",),
        ("assigned", "sessions", {1}),
        ("assigned", "listens", {0, 1}),
        ("revoked", "sessions", {1}),
        ("revoked", "listens", {0, 1}),
        ("commit",),
        ("faust revoked",),
    ]


async def test_lanes_go_on_during_a_rebalance_where_former_owners_are_fenced(app, lanes, notes, monkeypatch):
    consumer = listening_consumer(app, monkeypatch, notes)
    assert app.transport.keeps_partitions
    consumer._thread.group_client = SimpleNamespace(is_member=True)
    await consumer.on_partitions_assigned({TP("listens", 0), TP("sessions", 0)}, 4)
    notes.clear()
    await consumer.on_partitions_revoked({TP("listens", 0), TP("sessions", 0)})
    assert notes == [("commit",), ("faust revoked",)]
    assert consumer._filter_committable_offsets([]) == {}  # some of them may be another worker's by now
    await consumer.on_partitions_assigned({TP("listens", 1), TP("sessions", 1)}, 5)
    assert notes[2:] == [("faust assigned",), ("assigned", "sessions", {1}), ("assigned", "listens", {1})]


async def test_lanes_go_on_and_may_ask_again_where_a_broker_gives_the_same_generation(app, lanes, notes, monkeypatch):
    """It does to a member that is not the leader, and joins with nothing new to say."""
    consumer = listening_consumer(app, monkeypatch, notes)
    consumer._thread.group_client = SimpleNamespace(is_member=True)
    app.assignor._assignment.standbys = {"listens": [1], "listens#coming": [1]}
    lanes[0].held = HeldTables(frozenset({1}), frozenset())
    for _ in range(2):
        await consumer.on_partitions_assigned({TP("listens", 0)}, 4)
        assert consumer._asks_for_rebalance()
        assert not consumer._asks_for_rebalance()
        await consumer.on_partitions_revoked({TP("listens", 0)})
    assert not [note for note in notes if note[0] == "revoked"]


@pytest.mark.parametrize(("is_member", "generation"), [(False, 5), (True, 6)])
async def test_lanes_stop_where_their_partitions_may_have_had_other_owners(
    app, lanes, notes, monkeypatch, is_member, generation
):
    consumer = listening_consumer(app, monkeypatch, notes)
    consumer._thread.group_client = SimpleNamespace(is_member=True)
    await consumer.on_partitions_assigned({TP("listens", 0)}, 4)
    notes.clear()
    consumer._thread.group_client.is_member = is_member
    await consumer.on_partitions_revoked({TP("listens", 0)})
    await consumer.on_partitions_assigned({TP("listens", 0)}, generation)
    changes = [note for note in notes if note[0] in ("revoked", "assigned")]
    assert changes == [
        ("revoked", "sessions", set()),
        ("revoked", "listens", {0}),
        ("assigned", "sessions", set()),
        ("assigned", "listens", {0}),
    ]


async def test_lanes_stop_at_every_rebalance_where_nothing_fences_them(tmp_path, notes, counts, monkeypatch):
    clients = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
    app = make_faust_app("test", clients, LaneSettings(guarantee="at_least_once"), tmp_path, counts)
    app.finalize()
    register(app, Lane("listens", notes, {}))
    consumer = listening_consumer(app, monkeypatch, notes)
    consumer._thread.group_client = SimpleNamespace(is_member=True)
    await consumer.on_partitions_assigned({TP("listens", 0)}, 4)
    await consumer.on_partitions_revoked({TP("listens", 0)})
    assert ("revoked", "listens", {0}) in notes
    consumer._thread.thread_loop.close()


async def test_a_worker_that_stops_during_a_rebalance_stops_its_lanes(app, lanes, notes, monkeypatch):
    consumer = listening_consumer(app, monkeypatch, notes)
    consumer._thread.group_client = SimpleNamespace(is_member=True)
    await consumer.on_partitions_assigned({TP("listens", 0)}, 4)
    await consumer.on_partitions_revoked({TP("listens", 0)})
    await consumer._stop_lanes()
    assert ("revoked", "listens", {0}) in notes


async def test_offsets_of_lanes_are_committed_while_they_own_partitions(app, lanes, notes, monkeypatch):
    consumer = listening_consumer(app, monkeypatch, notes)
    assert consumer._filter_committable_offsets([]) == {}
    await consumer.on_partitions_assigned({TP("listens", 0), TP("listens", 1), TP("sessions", 1)}, 1)
    consumer._committed_offset[TP("listens", 0)] = 5
    assert consumer._filter_committable_offsets([]) == {TP("listens", 1): 9, TP("sessions", 1): 3}
    await consumer.on_partitions_revoked(set())
    assert consumer._filter_committable_offsets([]) == {}


async def test_lower_offsets_of_a_topic_that_was_made_again_are_committed(app, lanes, notes, monkeypatch):
    consumer = listening_consumer(app, monkeypatch, notes)
    await consumer.on_partitions_assigned({TP("sessions", 1)}, 1)
    consumer._committed_offset[TP("sessions", 1)] = 100
    assert consumer._filter_committable_offsets([])[TP("sessions", 1)] == 3


async def test_a_lane_commits_at_once_in_the_consumer_thread(app, monkeypatch):
    calls = []

    async def call_thread(function, *args):
        calls.append(("in the thread", *args))
        await function(*args)

    async def commit(offsets):
        calls.append(("commit", offsets))

    thread = app.consumer._thread
    monkeypatch.setattr(thread, "_consumer", SimpleNamespace(commit=commit))
    monkeypatch.setattr(thread, "call_thread", call_thread)
    await FaustHost(app).commit("sessions", {1: 7})
    offsets = {TopicPartition("sessions", 1): 7}
    assert calls == [("in the thread", offsets), ("commit", offsets)]


async def test_lane_that_cannot_stop_crashes_the_app(app, lanes, notes, monkeypatch):
    consumer = listening_consumer(app, monkeypatch, notes)
    crashes = []

    async def crash(reason):
        crashes.append(reason)

    monkeypatch.setattr(app, "crash", crash)
    await consumer.on_partitions_assigned({TP("listens", 0)}, 1)
    lanes[0].fails = True
    await consumer.on_partitions_revoked({TP("listens", 0)})
    assert [str(reason) for reason in crashes] == ["stuck"]


async def test_stray_records_are_dropped_and_counted(app, lanes, counts, monkeypatch):
    async def getmany(self, active, timeout):
        await asyncio.sleep(0)
        return {TP("listens", 0): [1, 2, 3], TP("items", 0): [4]}

    monkeypatch.setattr(driver.Consumer, "_getmany", getmany)
    assert await app.consumer._getmany(None, 1.0) == {TP("items", 0): [4]}
    assert counts.stray_records == 3


async def test_livelock_detector_ignores_lanes(app, lanes, monkeypatch):
    seen = []
    monkeypatch.setattr(driver.Consumer, "verify_event_path", lambda self, now, tp: seen.append(tp))
    app.consumer.verify_event_path(0.0, TP("listens", 0))
    app.consumer.verify_event_path(0.0, TP("items", 0))
    assert seen == [TP("items", 0)]


def test_other_versions_are_rejected(monkeypatch):
    check_versions()
    monkeypatch.setattr(faust_app, "FAUST_VERSION", "0.16.0")
    with pytest.raises(SettingsError, match=r"expected faust-streaming 0\.16\.0"):
        check_versions()


async def test_a_message_that_need_not_wait_is_handed_over_without_a_task(app):
    consumer, flow, tasks = app.consumer, asyncio.Event(), asyncio.all_tasks()

    async def hand_over():
        return asyncio.all_tasks() - tasks

    for _ in range(40):
        answer = await consumer.wait_first(hand_over(), flow.wait())
        assert answer.results == [set()]
        assert not answer.stopped
    with pytest.raises(ValueError, match="refused"):
        await consumer.wait_first(fail(), flow.wait())


async def fail():
    msg = "refused"
    raise ValueError(msg)


async def test_a_message_that_must_wait_is_handled_by_faust(app):
    consumer, flow, has_capacity = app.consumer, asyncio.Event(), asyncio.Event()
    steps = []

    async def hand_over():
        steps.append("begun")
        await asyncio.sleep(0)
        try:
            await has_capacity.wait()
        except asyncio.CancelledError:
            steps.append("given up")
            raise
        steps.append("handed over")
        return 7

    waiting = asyncio.create_task(consumer.wait_first(hand_over(), flow.wait()))
    await asyncio.sleep(0)
    assert steps == ["begun"]
    has_capacity.set()
    assert (await waiting).results == [7]
    has_capacity.clear()
    # A rebalance suspends the flow: waiting messages are dropped.
    waiting = asyncio.create_task(consumer.wait_first(hand_over(), flow.wait()))
    await asyncio.sleep(0)
    flow.set()
    assert (await waiting).results == [True]
    await asyncio.sleep(0)
    assert steps == ["begun", "handed over", "begun", "given up"]


async def test_other_tasks_run_while_messages_are_handed_over(app):
    consumer, flow, turns = app.consumer, asyncio.Event(), []

    async def hand_over():
        return None

    asyncio.get_running_loop().call_soon(turns.append, 1)
    for _ in range(16):
        await consumer.wait_first(hand_over(), flow.wait())
    assert turns == [1]


async def test_a_rebalance_is_asked_for_once_when_what_is_coming_can_be_taken_over(app, lanes, monkeypatch):
    consumer = app.consumer
    app.assignor._assignment.standbys = {"listens": [0, 1], "listens#coming": [0, 1]}
    lane = lanes[0]
    consumer._generation, consumer._assigned_s = 1, app.loop.time()
    asked = []
    for current in (None, {0}, {0, 1}, {0, 1}):
        lane.held = current if current is None else HeldTables(frozenset(current), frozenset())
        asked.append(consumer._asks_for_rebalance())
    assert asked == [False, False, True, False]
    consumer._generation += 1
    lane.held = HeldTables(frozenset({1}), frozenset())
    assert not consumer._asks_for_rebalance()
    consumer.is_rebalancing, consumer._assigned_s = True, app.loop.time() - transport._COMING_S
    assert not consumer._asks_for_rebalance()
    consumer.is_rebalancing = False
    assert consumer._asks_for_rebalance(), "one that cannot be restored does not hold up the others for ever"


async def test_nothing_waits_for_tables_where_every_rebalance_stops_the_lanes(app, lanes):
    lanes[0].held = HeldTables(frozenset({0}), frozenset())
    assert app.transport.held_tables() == {"listens": lanes[0].held}
    app.transport.keeps_partitions = False
    assert app.transport.held_tables() == {}
