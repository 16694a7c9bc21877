import asyncio
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from kafka.partitioner.default import murmur2

from sidestream.models.settings import EngineSettings
from sidestream.streams.app import create_app
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.errors import ArtifactError, BrokerError, SettingsError
from sidestream.streams.generations.pair import Pair, load_pair
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.running.workers import worker_registry
from sidestream.streams.runtime.clock import LogClock, WallClock
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.settings import load_settings
from sidestream.streams.worker.gates import TopicGate
from sidestream.streams.worker.states import LaneStates
from sidestream.tokenizer.generations import VersionCodes, align


class FakeTokenizer:
    version = "00112233aabb"
    codebook_sizes = (4, 4)
    vector_dim = 4

    def encode_items(self, items):
        raise NotImplementedError


FIRST = ["Heartbeat", "WebServer", "Registration", "TopicGate", "Backlog", "ControlReader", "Reporter"]
REST = ["LiveIds", "LiveAudience"]
PAIR = Pair(FakeTokenizer(), None, lambda item_ids, codes, x: (x, x[:, 0]), 4, "m")


def settings_of(tmp_path, **flags):
    flags = {"kafka.bootstrap": "127.0.0.1:1", "data_dir": str(tmp_path), "web.port": 0, **flags}
    return load_settings(flags, env={})[0]


@pytest.fixture
def _loop():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.usefixtures("_loop")
@pytest.mark.parametrize(
    ("role", "group", "services"),
    [
        (
            "all",
            "mine",
            [
                *FIRST,
                "Serving",
                "CountsReader",
                "LiveIds",
                "LiveAudience",
                "Standbys",
                "SessionLane",
                "TableUpkeep",
                "CatalogAgent",
                "Retokenizer",
            ],
        ),
        (
            "recommend",
            "mine-recommend",
            [*FIRST, "Serving", "CountsReader", *REST, "Standbys", "SessionLane", "TableUpkeep"],
        ),
        ("tokenize", "mine-tokenize", [*FIRST, "CatalogAgent", "Retokenizer"]),
    ],
)
def test_each_role_starts_its_parts_in_order_before_faust_joins(tmp_path, role, group, services):
    parts = create_app(settings_of(tmp_path, **{"worker.role": role, "worker.app_id": "mine"}), PAIR)
    assert [type(service).__name__ for service in parts.app.boot_strategy.services] == services
    assert parts.app.conf.id == group
    lanes = list(parts.app.transport.lanes)
    topics = parts.topics
    # In this order; they stop in the opposite one.
    named = (topics.item_count_changes, topics.listens, topics.user_erasures, topics.session_starts)
    names = [topic.name for topic in named]
    assert lanes == ([] if role == "tokenize" else names)
    reasons = parts.health.not_ready()
    assert "kafka: not joined" in reasons
    assert ("session-starts.v1: no partitions assigned yet" in reasons) == (role != "tokenize")
    assert (parts.states is None) == (role == "tokenize")


@pytest.mark.usefixtures("_loop")
@pytest.mark.parametrize(
    ("flags", "guarantee"),
    [
        ({}, "exactly_once"),
        ({"kafka.kind": "embedded"}, "at_least_once"),
        ({"lane.guarantee": "at_least_once"}, "at_least_once"),
        ({"worker.role": "tokenize"}, None),
    ],
)
def test_the_guarantee_is_part_of_the_readiness(tmp_path, flags, guarantee):
    parts = create_app(settings_of(tmp_path, **flags), PAIR)
    assert parts._about().get("guarantee") == guarantee


@pytest.mark.usefixtures("_loop")
def test_standbys_are_part_of_the_readiness_with_their_troubles(tmp_path):
    parts = create_app(settings_of(tmp_path), PAIR)
    parts._standbys = SimpleNamespace(lags=lambda: {1: (0, 0), 2: (None, 70)}, troubles={2: "the disk is full"})
    assert parts._about()["standbys"] == [
        {"partition": 1, "behind": 0, "lag_ms": 0},
        {"partition": 2, "behind": None, "lag_ms": 70, "trouble": "the disk is full"},
    ]


@pytest.mark.usefixtures("_loop")
def test_unread_records_are_a_metric_by_topic_and_partition(tmp_path):
    parts = create_app(settings_of(tmp_path, **{"topics.user_partitions": 2}), PAIR)
    sessions = parts.app.transport.lanes[parts.topics.session_starts.name]
    sessions._source = SimpleNamespace(positions={1: 5})
    parts._backlog._ends = {parts.topics.session_starts.name: {0: 9, 1: 12}}
    shown = parts.metrics.expose().decode()
    assert 'sidestream_unread{partition="1",topic="session-starts.v1"} 7.0' in shown
    assert 'sidestream_unread{partition="0",topic="session-starts.v1"} 0.0' in shown
    assert 'sidestream_unread{partition="1",topic="listen-events.v1"} 0.0' in shown
    assert 'sidestream_unread{partition="1",topic="item-count-changes.v1"} 0.0' in shown
    assert "sidestream_popularity_unpublished 0.0" in shown
    assert "sidestream_popularity_behind 0.0" in shown


@pytest.mark.usefixtures("_loop")
def test_without_popularity_nothing_is_counted(tmp_path):
    parts = create_app(settings_of(tmp_path, **{"popularity.enabled": False}), PAIR)
    assert parts.topics.item_count_changes.name not in parts.app.transport.lanes


@pytest.mark.usefixtures("_loop")
def test_the_clock_follows_the_setting(tmp_path):
    assert isinstance(create_app(settings_of(tmp_path), PAIR).clock, WallClock)
    assert isinstance(create_app(settings_of(tmp_path, **{"worker.clock": "log"}), PAIR).clock, LogClock)


def test_log_time_never_goes_back():
    clock = LogClock()
    for at, expected in ((5, 5), (3, 5), (9, 9)):
        clock.observe(at)
        assert clock() == expected


def test_a_worker_without_artifacts_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="artifacts"):
        create_app(settings_of(tmp_path))


def test_a_worker_with_wrong_artifacts_names_the_setting(tmp_path):
    settings = settings_of(tmp_path).model_copy(update={"artifacts": tmp_path / "nopair"})
    with pytest.raises(
        ArtifactError, match=r"artifacts \(--set artifacts=…, SIDESTREAM_ARTIFACTS\) .*nopair: expected"
    ):
        create_app(settings)


@pytest.mark.parametrize("command", ["tokenizer train", "train model"])
def test_a_missing_part_of_the_pair_is_named_with_its_command(tmp_path, command):
    if command == "train model":
        (tmp_path / "tokenizer").mkdir()
    with pytest.raises(ArtifactError, match=f"sidestream {command}"):
        load_pair(tmp_path, EngineSettings())


def test_a_pair_reads_listens_of_each_older_version_with_an_alignment(tmp_path):
    folder = tmp_path / "pair"
    shutil.copytree(shipped_pair(), folder)
    assert load_pair(folder, EngineSettings()).alignments == ()
    now = load_pair(folder, EngineSettings(), with_model=False).tokenizer

    def mapped(old, new):
        sizes, codes = now.codebook_sizes, np.zeros((1, len(now.codebook_sizes)), np.int32)
        return align(VersionCodes(old, sizes, codes), VersionCodes(new, sizes, codes))

    mapped("before", now.version).save(folder / "alignment")
    mapped("oldest", now.version).save(folder / "alignment-oldest")
    assert [one.old_version for one in load_pair(folder, EngineSettings()).alignments] == ["before", "oldest"]
    mapped("before", "another").save(folder / "alignment-another")
    with pytest.raises(ArtifactError, match="another"):
        load_pair(folder, EngineSettings())


@pytest.mark.usefixtures("_loop")
def test_recommending_needs_a_model(tmp_path):
    alone = Pair(FakeTokenizer(), None, None, 0, "none")
    with pytest.raises(ArtifactError, match="model"):
        create_app(settings_of(tmp_path), alone)


class FakeLane:
    def __init__(self, progress, ready=()):
        self.partitions, self.restore_progress, self._ready = frozenset({1, 3}), progress, ready

    def is_ready(self, partition):
        return partition in self._ready


def test_lane_metrics_are_in_the_registry():
    metrics = Metrics()
    lane = LaneMetrics(metrics, "listen-events.v1")
    lane.folded(5, 1, 0, 2)
    lane.bad("not_json")
    lane.bad("bad_value", "user-erasures.v1")
    lane.refused(3)
    lane.erased(2)
    lane.forgotten(1)
    lane.expired(4)
    lane.deleted_table()
    lane.batch(0.01, 8)
    lane.restored(7)
    lane.rebuilt("damaged")
    lane.stray(1)
    text = metrics.expose().decode()
    assert 'sidestream_listens_total{outcome="applied"} 5.0' in text
    assert 'sidestream_listens_total{outcome="late"}' not in text
    assert 'sidestream_dead_letters_total{reason="not_json",topic="listen-events.v1"} 1.0' in text
    assert 'sidestream_dead_letters_total{reason="bad_value",topic="user-erasures.v1"} 1.0' in text
    assert 'sidestream_listens_total{outcome="erased"} 3.0' in text
    assert 'sidestream_erasures_total{outcome="erased"} 2.0' in text
    assert 'sidestream_erasures_total{outcome="forgotten"} 1.0' in text
    assert "sidestream_expired_states_total 4.0" in text
    assert "sidestream_deleted_tables_total 1.0" in text
    assert "sidestream_restored_records_total 7.0" in text
    assert 'sidestream_rebuilt_tables_total{reason="damaged"} 1.0' in text


def test_listeners_have_the_partition_of_kafkas_partitioner():
    states = LaneStates(FakeLane({}), build_topics(TopicSettings()).listens, lambda: None)
    for user in ("u", "user-17", "ünï", "x" * 200):
        # kafka-python's own implementation, written apart from aiokafka's.
        assert states.partition_of(user) == (murmur2(user.encode()) & 0x7FFFFFFF) % 8


async def test_an_unreachable_kafka_is_awaited_until_a_deadline():
    seconds = iter([0.0, 1.0, 6.0])
    clients = Clients(KafkaSettings(bootstrap="127.0.0.1:1"))
    gate = TopicGate(clients, build_topics(TopicSettings()), 5.0, seconds=lambda: next(seconds))
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1 for 5 s"):
        await gate.start()
    assert gate.not_ready() == ["kafka: no answer from 127.0.0.1:1 yet"]


@pytest.mark.usefixtures("_loop")
async def test_a_worker_is_registered_while_its_web_server_runs(tmp_path):
    parts = create_app(settings_of(tmp_path, **{"worker.app_id": "mine", "worker.instance": 2}), PAIR)
    (registration,) = (each for each in parts.app.boot_strategy.services if type(each).__name__ == "Registration")
    await parts.web.start()
    await registration.start()
    (entry,) = worker_registry().running()
    assert (entry.web_port, entry.app_id, entry.instance) == (parts.web.port, "mine", 2)
    assert (entry.bootstrap, entry.data_dir) == ("127.0.0.1:1", str(tmp_path))
    await registration.stop()
    await parts.web.stop()
    assert worker_registry().running() == []


@pytest.mark.parametrize(
    ("answers", "asked"),
    [([False, False, True], 3), ([None], 1), ([False] * 99, 15)],
    ids=["waits until there is one", "leaves a refusal to Faust", "ends at its deadline"],
)
async def test_the_gate_waits_for_the_coordinator_of_its_group(monkeypatch, answers, asked):
    seconds, replies = iter(range(1_000)), iter(answers)
    questions = []

    async def has_coordinator(clients, group_id):
        questions.append(group_id)
        return next(replies)

    class Reachable:
        bootstrap = "b:1"

        async def log_in(self, timeout_s):
            pass

    gate = TopicGate(
        Reachable(), None, 5.0, "mine", seconds=lambda: float(next(seconds)), has_coordinator=has_coordinator
    )
    monkeypatch.setattr(gate, "_require", lambda: None)
    monkeypatch.setattr("sidestream.streams.worker.gates._COORDINATOR_RETRY_S", 0.0)
    await gate.on_start()
    assert questions == ["mine"] * min(asked, len(questions))
    assert len(questions) in (asked, asked - 1)
    assert gate.not_ready() == []
