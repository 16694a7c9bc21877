import json
import os
import platform
import shlex
import sys
from pathlib import Path

import pytest

from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.demo.printing import reach
from sidestream.streams.running.births import birth
from sidestream.streams.running.brokers import broker_registry, make_entry
from sidestream.streams.running.workers import WorkerEntry, worker_registry
from sidestream.streams.settings import load_settings

FLAGS = {
    "kafka.bootstrap": "127.0.0.1:9",
    "kafka.kind": "embedded",
    "kafka.session_timeout_ms": 3_000,
    "topics.prefix": "demo-1.",
    "web.port": 4711,
    "data_dir": 'a "folder" of ü 星\\\t\x7f',
}


def test_the_settings_file_says_where_the_demo_is_as_long_as_it_runs(tmp_path):
    file = tmp_path / "sidestream.toml"
    with reach.published_settings(file, FLAGS):
        settings, origins = load_settings(file=file, env={})
        assert settings.kafka.bootstrap == "127.0.0.1:9"
        assert (settings.kafka.kind, settings.kafka.session_timeout_ms) == ("embedded", 3_000)
        assert (settings.topics.prefix, settings.web.port) == ("demo-1.", 4711)
        assert str(settings.data_dir) == FLAGS["data_dir"]
        assert origins["web.port"] == "file"
    assert not file.exists()


@pytest.fixture
def running(tmp_path):
    """A broker called demo and a worker on it, both of this process."""
    pid = os.getpid()
    broker = make_entry("demo", "embedded", "127.0.0.1:9", pid, tmp_path / "kafka", 1)
    worker = WorkerEntry(
        pid, birth(pid), platform.node(), "127.0.0.1:9", "127.0.0.1", 4711, "sidestream", "all", 1, "d", "f", 1
    )
    broker_registry().put(broker)
    worker_registry().put(worker)
    return broker, worker


@pytest.mark.usefixtures("running")
def test_the_name_of_its_broker_is_enough(tmp_path):
    topics = TopicSettings(max_future_ms=10**12)
    assert reach.reach_options(tmp_path / "demo.toml", "demo", topics) == ("--broker", "demo")


def test_the_settings_file_is_named_where_the_broker_alone_does_not_do(tmp_path, running):
    file, (broker, worker) = tmp_path / "demo.toml", running
    by_file = ("--config", str(file))
    assert reach.reach_options(file, "", TopicSettings()) == by_file, "a Kafka that was given"
    assert reach.reach_options(file, "demo", TopicSettings(prefix="demo-1.")) == by_file
    worker_registry().remove(worker)
    assert reach.reach_options(file, "demo", TopicSettings()) == by_file, "no pages to ask for a state"
    worker_registry().put(worker)
    broker_registry().remove(broker)
    assert reach.reach_options(file, "demo", TopicSettings()) == by_file, "a registry that cannot be written"


def test_commands_can_be_typed_whatever_the_listener_is_called():
    for user in ("listener-1", "it's", "-x", "ü 星"):
        state, session, tail = reach.demo_commands(user, 7)
        assert state.words[-1] == user
        assert json.loads(session.words[2]) == {"user_id": user, "at": 7}
        assert tail.words == ("tail", "candidates.v1")
        for command in (state, session, tail):
            typed = reach.typed(("sidestream", "--config", "/a b/c.toml", *command.words), 40)
            assert shlex.split(typed.replace("\\\n", "")) == ["sidestream", "--config", "/a b/c.toml", *command.words]


def test_the_executable_is_the_bare_name_only_where_that_is_this_one(tmp_path, monkeypatch):
    own = Path(sys.executable).parent / "sidestream"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reach.executable() in ((str(own),), (sys.executable, "-m", "sidestream.streams.cli.entry"))
    other = tmp_path / "sidestream"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert reach.executable() != ("sidestream",)
    if own.is_file():
        monkeypatch.setenv("PATH", str(own.parent))
        assert reach.executable() == ("sidestream",)
