"""Which broker is used, and that it is found, refused and stopped as documented."""

import dataclasses
import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidestream.streams.broker import (
    BrokerSettings,
    RunningBroker,
    broker_status,
    local,
    probe,
    process,
    start,
    start_broker,
    stop_broker,
)
from sidestream.streams.broker.jars import kafka_files
from sidestream.streams.broker.node import Node
from sidestream.streams.broker.process import end, is_running, spawn
from sidestream.streams.broker.settings import LOAD_HEAP_MB
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.contracts.topics import build_topics, check_topics, create_topics
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import KafkaSettings


def without_java(tmp_path: Path, **change) -> BrokerSettings:
    return BrokerSettings(java="no-such-java", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", **change)


def test_auto_uses_the_embedded_broker_and_gives_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka")
    settings = without_java(tmp_path)
    broker = start_broker(settings)
    try:
        assert (broker.kind, broker.is_ours) == ("embedded", True)
        assert "no-such-java" in broker.note
        assert "without compaction, transactions or persistence" in broker.note
        assert broker_status(settings, broker.kafka).is_running
        # Commands in other processes find it too.
        status = broker_status(settings)
        assert (status.kind, status.is_running, status.bootstrap) == ("embedded", True, broker.bootstrap)
        assert not stop_broker(settings)
    finally:
        broker.stop()
    assert not broker_status(settings, broker.kafka).is_running
    assert broker_status(settings).kind == "none"
    broker.stop()


def test_an_explicitly_requested_kafka_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="Java 17"):
        start_broker(without_java(tmp_path, kind="kafka"))


def test_auto_without_any_broker_names_both_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "has_library", lambda: False)
    with pytest.raises(BrokerError, match=r"Java 17.*sidestream\[embedded\]"):
        start_broker(without_java(tmp_path))


def test_an_address_without_an_answer_is_refused(tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap="127.0.0.1:1,nonsense")
    with pytest.raises(BrokerError, match=r"127.0.0.1:1.*kafka.bootstrap"):
        start_broker(without_java(tmp_path), kafka)
    assert not broker_status(without_java(tmp_path), kafka).is_running


def test_a_stale_pid_file_is_ignored_and_its_process_left_alone(tmp_path: Path) -> None:
    settings = without_java(tmp_path)
    settings.data_dir.mkdir()
    stranger = spawn([sys.executable, "-c", "import time; time.sleep(60)", "stranger"], tmp_path / "log")
    state = {"pid": stranger, "port": 1, "properties": str(settings.data_dir / "server.properties"), "log": "x"}
    for text in (json.dumps(state), "{", "[]", '{"pid": 1}'):
        (settings.data_dir / "broker.json").write_text(text)
        assert broker_status(settings).kind == "none"
        assert not stop_broker(settings)
    assert is_running(stranger, "stranger")
    end(stranger, "stranger", timeout_s=5)


@pytest.mark.broker
def test_an_address_in_the_settings_is_used_and_never_stopped(kafka: RunningBroker, tmp_path: Path) -> None:
    broker = start_broker(without_java(tmp_path), KafkaSettings(bootstrap=kafka.bootstrap))
    broker.stop()
    assert (broker.kind, broker.is_ours) == ("external", False)
    assert broker_status(without_java(tmp_path), broker.kafka).is_running


@pytest.mark.broker
def test_a_port_in_use_and_a_failed_start_are_reported(kafka: RunningBroker, tmp_path: Path) -> None:
    port = int(kafka.bootstrap.rpartition(":")[2])
    base = kafka.settings.model_copy(update={"data_dir": tmp_path / "data"})
    with pytest.raises(BrokerError, match=rf"port {port}.*broker.port"):
        start_broker(base.model_copy(update={"port": port}))
    files = kafka_files(base)
    for name in ("pom.xml", "log4j2.properties"):
        (tmp_path / name).write_text((files / name).read_text())
    broken = (files / "server.properties").read_text() + "\nnum.io.threads=none\n"
    (tmp_path / "server.properties").write_text(broken)
    with pytest.raises(BrokerError, match=r"kafka\.log"):
        start_broker(base.model_copy(update={"kafka_files": tmp_path}))
    assert not broker_status(base).is_running


@pytest.mark.broker
@pytest.mark.slow
def test_a_lost_race_for_a_free_port_is_retried(
    kafka: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = kafka.settings.model_copy(update={"data_dir": tmp_path / "data"})
    choose, taken = probe.free_ports, int(kafka.bootstrap.rpartition(":")[2])
    choices = iter([lambda: [choose(1)[0], taken], lambda: choose(2)])
    monkeypatch.setattr(probe, "free_ports", lambda count: next(choices)())
    broker = start_broker(settings)
    try:
        assert broker_status(settings).is_running
        assert next(choices, None) is None
    finally:
        broker.stop()


@pytest.mark.broker
@pytest.mark.slow
def test_concurrent_starts_share_one_kafka(kafka: RunningBroker, tmp_path: Path) -> None:
    settings = kafka.settings.model_copy(update={"data_dir": tmp_path / "data"})
    try:
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(start_broker, [settings, settings])
        assert first.bootstrap == second.bootstrap
        assert first.is_ours != second.is_ours
    finally:
        stop_broker(settings)


@pytest.mark.broker
@pytest.mark.parametrize(("heap_mb", "option"), [(200, "-XX:+UseSerialGC"), (LOAD_HEAP_MB, "-XX:+UseG1GC")])
def test_a_large_heap_is_for_load(kafka: RunningBroker, tmp_path: Path, heap_mb: int, option: str) -> None:
    started = start_broker(kafka.settings.model_copy(update={"data_dir": tmp_path / "data", "heap_mb": heap_mb}))
    try:
        command = Path(f"/proc/{broker_status(started.settings).pid}/cmdline").read_text().split("\0")
        assert {option, f"-Xmx{heap_mb}m"} <= {*command}
    finally:
        started.stop()


@pytest.mark.broker
def test_a_local_kafka_is_found_again_and_keeps_its_topics(kafka: RunningBroker, tmp_path: Path) -> None:
    settings = kafka.settings.model_copy(update={"data_dir": tmp_path / "data"})
    topics = build_topics(TopicSettings())
    first = start_broker(settings)
    try:
        admin = first.topic_admin()
        create_topics(admin, topics)
        admin.close()
        again = start_broker(settings)
        assert (again.bootstrap, again.is_ours) == (first.bootstrap, False)
        again.stop()  # not ours: a no-op
        status = broker_status(settings)
        assert dataclasses.asdict(status) | {"pid": 0} == {
            "kind": "kafka",
            "is_running": True,
            "bootstrap": first.bootstrap,
            "pid": 0,
            "log": str(tmp_path / "data" / "kafka.log"),
            "data_dir": str(tmp_path / "data"),
            "detail": "",
            "name": first.name,
            "started_at": status.started_at,
        }
        assert 0 <= status.age_s < 600
        assert os.getsid(status.pid or 0) == status.pid
        assert stop_broker(settings)
        assert not stop_broker(settings)
        assert broker_status(settings).detail.endswith("`sidestream broker start`")
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(first.bootstrap.rpartition(":")[2]))) != 0
        third = start_broker(settings)
        admin = third.topic_admin()
        assert check_topics(admin, topics) == []
        admin.close()
    finally:
        stop_broker(settings)


def test_ctrl_c_while_kafka_starts_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, log = str(tmp_path / "server.properties"), tmp_path / "kafka.log"
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)", "kafka.Kafka", mark]
    node = Node(process.spawn(sleeper, log), 9, mark, str(log))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "_launch", lambda *_: local.LocalKafka((node,)))
    monkeypatch.setattr(local, "_wait_answering", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            local.start(BrokerSettings(data_dir=tmp_path))
        assert not node.is_running
    finally:
        process.end(node.pid, node.mark, 1.0)
