"""A command without an address finds the right local broker, or lists the running ones."""

import os
from pathlib import Path

import pytest

from sidestream.streams.broker import (
    BrokerSettings,
    all_brokers,
    broker_status,
    find_broker,
    probe,
    start,
    start_broker,
    status,
)
from sidestream.streams.broker.local import _port
from sidestream.streams.errors import BrokerError
from sidestream.streams.running.brokers import broker_registry, make_entry


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Registers brokers that appear to be running; those at port 1 do not answer."""
    monkeypatch.setattr(status.probe, "is_answering", lambda host, port: port != 1)
    monkeypatch.chdir(tmp_path)

    def run(name: str, folder: Path, port: int = 9, kind: str = "kafka") -> Path:
        folder.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            entry = make_entry(name, kind, f"127.0.0.1:{port}", os.getpid(), folder / "var" / "kafka", 5, "the.log")
        broker_registry().put(entry)
        return folder

    return run


def settings_in(folder: Path, **change) -> BrokerSettings:
    return BrokerSettings(data_dir=folder / "var" / "kafka", **change)


def test_none_runs(runs, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="no other local broker runs; run `sidestream broker start`"):
        find_broker(settings_in(tmp_path))
    assert all_brokers() == []


def test_the_only_one_is_found_from_any_folder(runs, tmp_path: Path) -> None:
    runs("radio", tmp_path / "radio")
    found = find_broker(settings_in(tmp_path / "elsewhere"))
    assert (found.name, found.bootstrap, found.started_at) == ("radio", "127.0.0.1:9", 5)
    assert found.data_dir == str(tmp_path / "radio" / "var" / "kafka")


def test_the_broker_of_this_folder_takes_precedence(runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = runs("mine", tmp_path / "mine", port=10, kind="embedded")
    runs("other", tmp_path / "other", port=11)
    assert find_broker(settings_in(mine)).name == "mine"
    # The demo's data lie elsewhere than those of `up`, but in the same project.
    monkeypatch.chdir(mine)
    assert find_broker(BrokerSettings(data_dir=Path("nowhere"))).name == "mine"


def test_of_several_one_must_be_named(runs, tmp_path: Path) -> None:
    runs("a", tmp_path / "a", port=10)
    runs("b", tmp_path / "b", port=11)
    with pytest.raises(BrokerError, match=r"2 local brokers run: a \(127.0.0.1:10, .*\), b \(.*--broker NAME"):
        find_broker(settings_in(tmp_path))
    assert find_broker(settings_in(tmp_path, name="b")).bootstrap == "127.0.0.1:11"
    with pytest.raises(BrokerError, match=r"named 'c', got none \(running: a .*b "):
        find_broker(settings_in(tmp_path, name="c"))
    assert [one.name for one in all_brokers()] == ["a", "b"]


def test_a_broker_that_does_not_answer_is_reported(runs, tmp_path: Path) -> None:
    runs("stuck", tmp_path / "stuck", port=1)
    with pytest.raises(BrokerError, match=r"127.0.0.1:1 \(stuck\); the process runs but does not answer; see the.log"):
        find_broker(settings_in(tmp_path))


def test_a_broker_of_another_folder_is_used_by_its_name_and_left_running(runs, tmp_path: Path, monkeypatch) -> None:
    runs("radio", tmp_path / "radio", port=10)
    monkeypatch.setattr(start, "require_answer", lambda kafka: None)
    broker = start_broker(settings_in(tmp_path, name="radio"))
    assert (broker.bootstrap, broker.is_ours, broker.name) == ("127.0.0.1:10", False, "radio")
    assert "using the running broker radio" in broker.note
    broker.stop()
    assert [one.name for one in all_brokers()] == ["radio"]


def test_a_broker_that_is_found_by_its_name_has_its_own_folder(runs, tmp_path: Path, monkeypatch) -> None:
    """`broker start --name radio` in another folder called it `not started`."""
    runs("radio", tmp_path / "radio", port=10, kind="embedded")
    monkeypatch.setattr(start, "require_answer", lambda kafka: None)
    broker = start_broker(settings_in(tmp_path, name="radio"))
    found = broker_status(broker.settings)
    assert (found.name, found.is_running, found.bootstrap) == ("radio", True, "127.0.0.1:10")


@pytest.mark.parametrize("kind", ["kafka", "embedded"])
def test_a_name_is_never_given_to_the_broker_that_runs_in_the_folder(runs, tmp_path: Path, kind) -> None:
    """`up --broker second` joined the broker of the folder, whatever its name, without a word."""
    folder = runs("first", tmp_path / "first", port=10, kind=kind)
    with pytest.raises(BrokerError, match=r"named 'second' in .*var/kafka, got 'first', .*--broker first.*--data-dir"):
        start_broker(settings_in(folder, name="second"))
    assert [one.name for one in all_brokers()] == ["first"]


def test_a_name_that_no_broker_has_is_that_of_the_one_to_start(runs, tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka")
    runs("first", tmp_path / "first", port=10)
    broker = start_broker(settings_in(tmp_path / "other", name="second", kind="embedded"))
    try:
        assert {one.name: one.data_dir for one in all_brokers()} == {
            "first": str(tmp_path / "first" / "var" / "kafka"),
            "second": str(tmp_path / "other" / "var" / "kafka"),
        }
    finally:
        broker.stop()


def test_the_default_port_is_given_up_for_another_local_broker_only(runs, tmp_path: Path, monkeypatch) -> None:
    runs("radio", tmp_path / "radio", port=9092)
    runs("other", tmp_path / "other", port=9999)
    monkeypatch.setattr(probe, "is_port_free", lambda port: False)
    assert _port(BrokerSettings()) == 0
    with pytest.raises(BrokerError, match=r"broker other of .*other.* listens there"):
        _port(BrokerSettings(port=9999))
    with pytest.raises(BrokerError, match="another program listens there"):
        _port(BrokerSettings(port=9998))


def test_an_embedded_broker_has_a_name_and_is_found_until_it_stops(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("confluent_kafka")
    monkeypatch.chdir(tmp_path)
    settings = BrokerSettings(kind="embedded", data_dir=tmp_path / "var" / "demo" / "kafka")
    with_name = start_broker(settings)
    second = start_broker(settings.model_copy(update={"data_dir": tmp_path / "b" / "demo"}))
    try:
        assert (with_name.name, second.name) == ("demo", "demo-2")
        assert broker_status(settings).bootstrap == with_name.bootstrap
        assert find_broker(BrokerSettings(name="demo")).bootstrap == with_name.bootstrap
    finally:
        with_name.stop()
        second.stop()
    assert all_brokers() == []


def test_a_read_only_registry_does_not_prevent_a_broker_from_starting(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("confluent_kafka")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    broker = start_broker(BrokerSettings(kind="embedded", data_dir=tmp_path / "data"))
    broker.stop()
    assert "cannot be written" in broker.note
