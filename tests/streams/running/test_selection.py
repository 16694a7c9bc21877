"""Selection of the workers of the intended Kafka cluster."""

import os
from pathlib import Path

import pytest

from sidestream.streams.errors import BrokerError
from sidestream.streams.running.births import birth
from sidestream.streams.running.brokers import broker_registry, make_entry
from sidestream.streams.running.selection import select_workers
from sidestream.streams.running.workers import WorkerEntry, worker_registry


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Simulates running workers: each is an entry of this process under its own number."""
    monkeypatch.chdir(tmp_path)
    entries: list[WorkerEntry] = []

    def run(port: int, kafka: str, folder: str = "/f", role: str = "all") -> WorkerEntry:
        pid = os.getpid()
        entry = WorkerEntry(
            pid, birth(pid), os.uname().nodename, kafka, "127.0.0.1", port, "s", role, 1, f"{folder}/var", folder, 5
        )
        entries.append(entry)
        return entry

    monkeypatch.setattr(type(worker_registry()), "running", lambda self: list(self_or(self, entries)))
    return run


def self_or(registry, entries):
    return entries if registry.folder.name == "workers" else [make_entry("radio", "kafka", "k:1", 1, Path("/d"), 5)]


def ports(*args) -> list[int]:
    return [worker.web_port for worker in select_workers(*args)]


def test_no_worker_runs(runs) -> None:
    assert ports(None, None, Path("var")) == []


def test_all_workers_of_one_kafka_with_states_are_selected(runs) -> None:
    runs(1, "k:1")
    runs(2, "k:1", folder="/other")
    runs(3, "k:1", role="tokenize")
    assert ports(None, None, Path("elsewhere")) == [1, 2]
    assert ports(None, None, Path("/f/var")) == [1, 2]


def test_an_address_or_a_name_selects_among_several(runs) -> None:
    runs(1, "k:1")
    runs(2, "k:2", folder="/other")
    assert ports("k:2", None, Path("var")) == [2]
    assert ports("k:9", None, Path("var")) == []
    assert ports(None, "radio", Path("var")) == [1]
    assert ports(None, None, Path("/other/var")) == [2]
    with pytest.raises(BrokerError, match=r"several Kafka clusters run: k:1 \(broker radio\), k:2; choose one"):
        select_workers(None, None, Path("var"))
    with pytest.raises(BrokerError, match="named 'tv', got none"):
        select_workers(None, "tv", Path("var"))


def test_workers_started_from_this_folder_take_precedence(runs, tmp_path: Path) -> None:
    runs(1, "k:1")
    runs(2, "k:2", folder=str(tmp_path))
    assert ports(None, None, Path("elsewhere")) == [2]


def test_the_registries_share_a_folder() -> None:
    assert worker_registry().folder.parent == broker_registry().folder.parent
