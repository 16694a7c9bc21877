"""The registry returns only processes running on this machine."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidestream.streams.running.births import birth
from sidestream.streams.running.brokers import broker_registry, free_name, make_entry, name_of_folder, usable_name
from sidestream.streams.running.registry import state_folder
from sidestream.streams.running.workers import WorkerEntry, web_url, worker_registry


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def entry_of(name: str, **change):
    made = make_entry(name, "kafka", "127.0.0.1:9", os.getpid(), Path("/data") / name, 5)
    return dataclasses.replace(made, **change)


def test_the_registry_is_in_the_users_state_folder() -> None:
    assert state_folder({"XDG_STATE_HOME": "/x"}) == Path("/x/sidestream")
    for env in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}):
        assert state_folder(env) == Path("~/.local/state/sidestream").expanduser()


def test_a_running_process_is_found_until_removed() -> None:
    registry = broker_registry()
    assert registry.running() == []
    entries = [entry_of("a"), entry_of("b")]
    for entry in reversed(entries):
        registry.put(entry)
    assert registry.running() == entries
    registry.remove(entries[0])
    registry.remove(entries[0])
    assert registry.running() == entries[1:]


def test_the_entry_of_an_ended_process_is_removed() -> None:
    registry = broker_registry()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        registry.put(make_entry("gone", "kafka", "127.0.0.1:9", child.pid, Path("/data"), 5))
        assert [entry.name for entry in registry.running()] == ["gone"]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert birth(child.pid) == "", "a zombie has ended"
        assert registry.running() == []
    assert list(registry.folder.glob("*.json")) == []


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1], ids=["none", "negative", "ended"])
def test_an_entry_without_a_birth_runs_no_longer(pid: int) -> None:
    registry = broker_registry()
    registry.put(entry_of("born-dead", pid=pid, birth=birth(pid)))
    assert registry.running() == []
    assert list(registry.folder.glob("*.json")) == []


def test_a_reused_process_id_is_another_process() -> None:
    registry = broker_registry()
    registry.put(entry_of("before", birth="an-earlier-boot/1"))
    assert registry.running() == []


def test_entries_of_another_machine_are_ignored() -> None:
    registry = broker_registry()
    registry.put(entry_of("theirs", host="another", birth="theirs"))
    assert registry.running() == []
    assert len(list(registry.folder.glob("*.json"))) == 1


def test_an_entry_replaced_by_another_process_is_not_removed() -> None:
    registry = broker_registry()
    old, new = entry_of("n", birth="old"), entry_of("n")
    registry.put(new)
    registry.remove(old)
    assert registry.running() == [new]


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"name": 1}'])
def test_a_damaged_file_is_ignored(text: str) -> None:
    registry = broker_registry()
    registry.put(entry_of("whole"))
    (registry.folder / "broken.json").write_text(text)
    assert [entry.name for entry in registry.running()] == ["whole"]


def test_unknown_fields_of_a_newer_release_are_ignored() -> None:
    registry = broker_registry()
    entry = entry_of("n")
    registry.put(entry)
    file = registry.folder / "n.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "added_later": 1}))
    assert registry.running() == [entry]


@pytest.mark.parametrize(
    ("data_dir", "name"),
    [
        ("/srv/radio/var/kafka", "radio"),
        ("/srv/radio/var/demo/kafka", "demo"),
        ("/srv/broker-data", "broker-data"),
        ("/srv/Meine Müsik!/var/kafka", "Meine-Müsik"),
        ("/var/kafka", "var"),
        ("/", "local"),
        ("/x/..-", "local"),
        ("/" + "n" * 200, "n" * 64),
    ],
)
def test_a_broker_is_named_after_its_project(data_dir: str, name: str) -> None:
    assert name_of_folder(Path(data_dir)) == name
    assert usable_name(name) == name


def test_a_folder_keeps_its_own_name() -> None:
    running = [entry_of("demo", data_dir="/a"), entry_of("demo-2", data_dir="/b")]
    assert free_name("demo", Path("/c"), running) == "demo-3"
    assert free_name("demo", Path("/a"), running) == "demo"
    assert free_name("other", Path("/c"), running) == "other"
    # `--broker` takes no longer one.
    assert free_name("n" * 64, Path("/c"), [entry_of("n" * 64)]) == "n" * 62 + "-2"


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1"), ("box", "http://box:1"), ("", "http://127.0.0.1:1")],  # noqa: S104
)
def test_a_wildcard_address_becomes_loopback(host: str, url: str) -> None:
    assert web_url(host, 1) == url


def test_workers_are_keyed_by_process() -> None:
    entry = WorkerEntry(
        pid=os.getpid(), birth=birth(os.getpid()), host=os.uname().nodename, bootstrap="h:1", web_host="127.0.0.1",
        web_port=8088, app_id="sidestream", role="all", instance=1, data_dir="/d", folder="/f", started_at=5,
    )  # fmt: skip
    worker_registry().put(entry)
    assert worker_registry().running() == [entry]
    assert entry.url == "http://127.0.0.1:8088"
