"""`sidestream broker` as people see it."""

import json
import sys
from dataclasses import asdict

import pytest

from sidestream.streams.broker import BrokerStatus, local, process, start
from sidestream.streams.broker.node import Node
from sidestream.streams.cli.serving import broker as commands
from sidestream.streams.cli.serving.broker import _print_brokers, age_told
from sidestream.streams.running.brokers import broker_registry, make_entry


@pytest.fixture
def node(tmp_path):
    """Runs a stand-in for a Kafka of some folder, registered by its name; ended if the test leaves it running."""
    nodes = []

    def start(name, *, registered=True):
        folder = tmp_path / f"of-{name}" / "var" / "kafka"
        folder.mkdir(parents=True)
        mark, log = str(folder / "server.properties"), folder / "kafka.log"
        sleeper = [sys.executable, "-c", "import time; time.sleep(60)", "kafka.Kafka", mark]
        nodes.append(Node(process.spawn(sleeper, log), 9, mark, str(log)))
        (folder / "broker.json").write_text(json.dumps(asdict(nodes[-1])))
        if registered:
            broker_registry().put(make_entry(name, "kafka", "127.0.0.1:9", nodes[-1].pid, folder, 5, str(log)))
        return nodes[-1], folder

    yield start
    for one in nodes:
        process.end(one.pid, one.mark, 5.0)


LOSSES = {
    "kept": lambda file: None,
    "moved": lambda file: file.rename(file.with_name("elsewhere")),
    "damaged": lambda file: file.write_text("{"),
    "of-an-earlier-node": lambda file: file.write_text(json.dumps({**json.loads(file.read_text()), "pid": 2**22 + 1})),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("how", ["by name", "in its folder"])
def test_a_broker_that_is_told_to_be_stopped_has_ended(sidestream, node, lose, how):
    kafka, folder = node("radio")
    lose(folder / "broker.json")
    by_name = ("broker", "stop", "radio")
    ended = sidestream(*(by_name if how == "by name" else ("--set", f"broker.data_dir={folder}", "broker", "stop")))
    assert ended.err.startswith("stopped")
    assert not kafka.is_running
    assert broker_registry().running() == []
    assert "no local broker called radio was running" in sidestream(*by_name).err


@pytest.fixture
def answering(monkeypatch):
    """Lets the stand-ins answer."""
    monkeypatch.setattr(local.probe, "is_answering", lambda host, port: port == 9)
    monkeypatch.setattr(local.jars, "kafka_home", lambda settings: None)
    monkeypatch.setattr(start, "require_answer", lambda kafka: None)


@pytest.mark.usefixtures("answering")
def test_a_broker_whose_file_is_lost_is_found_in_its_folder(sidestream, node):
    kafka, folder = node("radio")
    (folder / "broker.json").unlink()
    here = ("--set", f"broker.data_dir={folder}", "broker")
    for command in ("status", "start"):
        found = json.loads(sidestream(*here, command, "--json").out)
        assert (found["pid"], found["name"], found["bootstrap"]) == (kafka.pid, "radio", "127.0.0.1:9")


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("where", ["--name", "--broker"])
def test_a_start_under_a_name_in_use_is_of_this_folder_and_numbered(sidestream, node, where):
    node("radio")
    mine, folder = node("mine", registered=False)
    ended = sidestream("--set", f"broker.data_dir={folder}", "broker", "start", where, "radio", "--json")
    found = json.loads(ended.out)
    assert (found["name"], found["pid"], found["kind"], found["is_running"]) == ("radio-2", mine.pid, "kafka", True)
    assert {one.name for one in broker_registry().running()} == {"radio", "radio-2"}


@pytest.mark.usefixtures("answering")
def test_a_kafka_at_a_given_address_cannot_be_kept_in_the_foreground(sidestream):
    ended = sidestream("--bootstrap", "127.0.0.1:9", "broker", "start", "--foreground", code=1)
    assert "--foreground: expected a local Kafka" in ended.err
    assert "ended; see kafka.log" not in ended.err


def test_a_process_that_is_not_recognised_is_not_told_to_be_stopped(sidestream, node, monkeypatch):
    node("radio")
    monkeypatch.setattr(commands, "stop_broker", lambda settings: False)
    assert "stopped radio" not in (ended := sidestream("broker", "stop", "radio", code=1)).err
    assert "radio: nothing was stopped: process" in ended.err


@pytest.mark.parametrize(
    ("age_s", "told"),
    [
        (None, ""),
        (-3, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_725, "1 h 2 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
    ],
)
def test_an_age_is_told_by_its_two_largest_units(age_s, told):
    assert age_told(age_s) == told


@pytest.mark.parametrize("detail", ["", "the process runs but does not answer; see /x/kafka.log"])
def test_all_brokers_are_listed_with_name_address_folder_and_age(capsys, detail):
    one = BrokerStatus("kafka", not detail, "127.0.0.1:9092", 5, "/x/kafka.log", "/x/radio", detail, "radio", 0)
    _print_brokers([one])
    shown = capsys.readouterr().out
    for part in ("radio", "127.0.0.1:9092", "kafka", "/x/radio", " d "):
        assert part in shown
    assert ("does not answer" in shown) == bool(detail)
