"""A local Kafka of several nodes: their files, how they are stored, and what becomes of one that has ended."""

import json
import sys
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from sidestream.streams.broker import BrokerSettings, all_brokers, broker_status, local, process, start_broker, status
from sidestream.streams.broker.node import Node, configure, count_nodes
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, check_topics, create_topics
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.running.brokers import broker_registry, make_entry


def properties_of(file: Path) -> dict[str, str]:
    """Names and values as Java reads them: the later of two equal names wins."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_each_of_three_nodes_has_its_own_files_and_knows_the_others(tmp_path: Path) -> None:
    written = configure(BrokerSettings(), tmp_path, [9, 10, 11], [19, 20, 21])
    assert written == [tmp_path / f"node-{number}" / "server.properties" for number in (1, 2, 3)]
    for number, file in enumerate(written, start=1):
        found = properties_of(file)
        assert found["node.id"] == str(number)
        assert found["controller.quorum.voters"] == "1@127.0.0.1:19,2@127.0.0.1:20,3@127.0.0.1:21"
        assert found["listeners"].startswith(f"PLAINTEXT://127.0.0.1:{8 + number},")
        assert found["log.dirs"] == str(tmp_path / f"node-{number}" / "topics")
        replicated = ("default", "offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        assert {found[f"{name}.replication.factor"] for name in replicated} == {"3"}
        assert found["min.insync.replicas"] == found["transaction.state.log.min.isr"] == "2"


def test_the_files_of_a_single_node_are_those_of_earlier_releases(tmp_path: Path) -> None:
    (file,) = configure(BrokerSettings(), tmp_path, [9], [19])
    assert file == tmp_path / "server.properties"
    found = properties_of(file)
    assert found["controller.quorum.voters"] == "1@127.0.0.1:19"
    assert found["offsets.topic.replication.factor"] == "1"
    assert "min.insync.replicas" not in found


@pytest.mark.parametrize("count", [2, 5])
def test_no_more_than_three_replicas_and_one_may_be_away(tmp_path: Path, count: int) -> None:
    file = configure(BrokerSettings(), tmp_path, range(count), range(count))[0]
    found = properties_of(file)
    replicas = min(3, count)
    assert found["default.replication.factor"] == str(replicas)
    assert found["min.insync.replicas"] == str(replicas - 1)


def test_the_heap_of_a_node_depends_on_their_number() -> None:
    assert [BrokerSettings().heap_of_node_mb(count) for count in (1, 3)] == [384, 160]
    assert [BrokerSettings(heap_mb=200).heap_of_node_mb(count) for count in (1, 3)] == [200, 200]


@pytest.mark.parametrize(("held", "asked"), [(1, 3), (3, 1), (3, 2)])
def test_a_data_folder_keeps_its_number_of_nodes(tmp_path: Path, held: int, asked: int) -> None:
    folders = [tmp_path] if held == 1 else [tmp_path / f"node-{number}" for number in range(1, held + 1)]
    for folder in folders:
        (folder / "topics").mkdir(parents=True)
        (folder / "topics" / "meta.properties").touch()
    assert count_nodes(tmp_path) == held
    with pytest.raises(BrokerError, match=rf"broker\.brokers: expected {held}, .*, got {asked}; omit"):
        local._require_count(BrokerSettings(brokers=asked), tmp_path, held)
    assert local._require_count(BrokerSettings(), tmp_path, held) == held


def test_a_new_folder_has_one_node_unless_more_are_asked_for(tmp_path: Path) -> None:
    assert count_nodes(tmp_path) is None
    assert local._require_count(BrokerSettings(), tmp_path, None) == 1
    assert local._require_count(BrokerSettings(brokers=3), tmp_path, None) == 3


@pytest.fixture
def sleepers(tmp_path: Path):
    """Stand-ins for nodes, stored as their broker; ended after the test."""
    made = []

    def make(count: int) -> local.LocalKafka:
        for number in range(1, count + 1):
            mark, log = str(tmp_path / f"node-{number}" / "server.properties"), tmp_path / f"{number}.log"
            sleeper = [sys.executable, "-c", "import time; time.sleep(60)", "kafka.Kafka", mark]
            made.append(Node(process.spawn(sleeper, log), 8 + number, mark, str(log), number=number))
        return local._store(tmp_path, local.LocalKafka(tuple(made)))

    yield make
    for one in made:
        one.stop(1.0)


def test_a_broker_is_found_while_any_of_its_nodes_runs(sleepers, tmp_path: Path, monkeypatch) -> None:
    settings = BrokerSettings(data_dir=tmp_path)
    kafka = sleepers(3)
    assert local.find(settings) == kafka
    assert kafka.bootstrap == "127.0.0.1:9,127.0.0.1:10,127.0.0.1:11"
    monkeypatch.setattr(status.probe, "is_answering", lambda host, port: True)
    assert (broker_status(settings).is_running, broker_status(settings).detail) == (True, "")
    kafka.node(1).kill()
    assert not kafka.node(1).is_running
    assert local.find(settings).pid == kafka.node(2).pid
    found = broker_status(settings)
    assert found.is_running
    assert found.detail.startswith("2 of 3 nodes answer, not node 1; `sidestream broker start` starts")
    # The table of all brokers left it out.
    first = kafka.node(2)
    broker_registry().put(make_entry("three", "kafka", kafka.bootstrap, first.pid, tmp_path, 5))
    assert [(one.is_running, one.detail) for one in all_brokers()] == [(True, found.detail)]
    assert local.stop(settings)
    assert kafka.running == []
    assert local.find(settings) is None
    assert not local.stop(settings)


def test_one_node_is_stored_as_earlier_releases_read_it(sleepers, tmp_path: Path) -> None:
    kafka = sleepers(1)
    stored = json.loads((tmp_path / "broker.json").read_text())
    assert set(stored) == {"pid", "port", "properties", "log", "archive"}
    assert local.find(BrokerSettings(data_dir=tmp_path)) == kafka


def test_an_unknown_broker_has_no_node_to_start(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="node 2: expected a broker that was started"):
        local.start_node(BrokerSettings(data_dir=tmp_path), 2)


@pytest.mark.broker
@pytest.mark.slow
def test_three_nodes_survive_the_loss_of_one(kafka, tmp_path: Path) -> None:
    settings = kafka.settings.model_copy(update={"data_dir": tmp_path / "jürgen, 3", "port": 0, "brokers": 3})
    topics = build_topics(TopicSettings())
    broker = start_broker(settings)
    try:
        admin = broker.topic_admin()
        create_topics(admin, topics)
        admin.close()
        client = Clients(broker.kafka).admin()
        name = topics.listens.name
        (described,) = client.describe_topics([name])
        assert {len(one["isr_nodes"]) for one in described["partitions"]} == {3}
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name, ["min.insync.replicas"])]
        configs = client.describe_configs(wanted, config_filter="all")["topic"][name]
        assert configs["min.insync.replicas"]["value"] == "2"
        client.close()
        local.find(settings).node(1).kill()
        assert "node 1" in broker_status(settings).detail
        again = start_broker(settings.model_copy(update={"brokers": None}))
        assert (again.bootstrap, again.is_ours) == (broker.bootstrap, False)
        assert broker_status(settings).detail == ""
        assert [one.bootstrap for one in all_brokers()] == [broker.bootstrap]
        assert local.stop(settings)
        started = start_broker(settings)
        admin = started.topic_admin()
        assert check_topics(admin, topics) == []
        admin.close()
    finally:
        local.stop(settings)
