"""SIGHUP ends what SIGTERM ends, in every long command, and nothing that a command started stays behind."""

import fcntl
import json
import os
import pty
import signal
import socket
import stat
import sys
import termios
import time

import pytest

from sidestream.models.data import LogFolder
from sidestream.models.world import generate_world
from sidestream.models.world.settings import WorldSettings
from sidestream.streams.broker.embedded import EmbeddedBroker
from sidestream.streams.broker.probe import free_ports
from sidestream.streams.broker.process import command_line
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.settings import Settings
from tests.streams.cli.pages import answers

DEADLINE_S = 60
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])


def until(holds, what):
    deadline = time.monotonic() + DEADLINE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def ended(process, number):
    process.send_signal(number)
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in out
    return process.returncode


@pytest.fixture
def embedded():
    pytest.importorskip("confluent_kafka")
    with EmbeddedBroker() as broker:
        create_topics(broker, build_topics(Settings().topics))
        yield broker.bootstrap


def to(bootstrap):
    return ["--set", f"kafka.bootstrap={bootstrap}", "--set", "kafka.kind=embedded"]


def test_a_worker_that_waits_for_kafka(sidestream_process):
    (port,) = free_ports(1)
    with sidestream_process("worker", "--bootstrap", "127.0.0.1:1", "--set", f"web.port={port}") as process:
        until(lambda: answers(f"http://127.0.0.1:{port}/livez") or process.poll(), "pages")
        assert ended(process, signal.SIGHUP) == 0


@BOTH
def test_tail(sidestream_process, embedded, number):
    producer = Clients(KafkaSettings(bootstrap=embedded, kind="embedded")).producer()
    producer.send("candidates.v1", key=b"u", value=b'{"rank": 1}', partition=0).get(20)
    producer.close()
    with sidestream_process("tail", "candidates.v1", "--from-start", *to(embedded)) as process:
        assert "rank" in process.stdout.readline()
        assert ended(process, number) == -number


def test_up_with_its_broker_when_its_terminal_is_closed(sidestream_process, tmp_path):
    """The kernel sends SIGHUP, and nothing can be written any more."""
    pytest.importorskip("confluent_kafka")
    terminal, inside = pty.openpty()

    def in_terminal():
        fcntl.ioctl(inside, termios.TIOCSCTTY, 0)

    streams = {"stdout": inside, "stderr": inside, "stdin": inside}
    given = ["--data-dir", "data", "--set", "broker.data_dir=kafka", "--set", "broker.kind=embedded"]
    (port,) = free_ports(1)
    with sidestream_process("up", *given, "--set", f"web.port={port}", **streams, preexec_fn=in_terminal) as process:
        os.close(inside)
        until(lambda: answers(f"http://127.0.0.1:{port}/livez") or process.poll(), "pages")
        os.close(terminal)
        assert process.wait(DEADLINE_S) == 0
    assert not (tmp_path / "kafka" / "embedded.address").exists(), "the broker was not stopped"


def test_what_is_started_by_nohup_outlives_its_terminal(sidestream_process, embedded):
    with sidestream_process(
        "tail",
        "candidates.v1",
        "--from-start",
        *to(embedded),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:
        producer = Clients(KafkaSettings(bootstrap=embedded, kind="embedded")).producer()
        for rank in range(2):
            producer.send("candidates.v1", key=b"u", value=b"%d" % rank, partition=0).get(20)
            assert f'"value": {rank}' in process.stdout.readline()
            process.send_signal(signal.SIGHUP)
        producer.close()
        assert ended(process, signal.SIGTERM) == -signal.SIGTERM


@BOTH
def test_replay_goes_on_later_where_it_was(sidestream_process, embedded, tmp_path, number):
    generate_world(tmp_path / "log", WorldSettings(listeners=20, days=2))
    position = tmp_path / "position.json"
    given = ["--speed", "3600", "--position", position, "--set", "replay.max_batch=1"]
    with sidestream_process("replay", tmp_path / "log", *given, *to(embedded)) as process:
        until(lambda: position.exists() or process.poll(), "a position")
        assert ended(process, number) == -number
    played = json.loads(position.read_text())["cursor"]["listens"][0]
    assert played < LogFolder(tmp_path / "log").manifest.counts.listens


JAVA = """#!{python}
import sys, time
if "-version" in sys.argv:
    sys.exit('openjdk version "17"')
if "kafka.Kafka" in sys.argv:
    time.sleep(600)
"""


@BOTH
def test_a_broker_that_starts(sidestream_process, tmp_path, number):
    java, lib = tmp_path / "java", tmp_path / "cache" / "kafka-4.4.0" / "lib"
    java.write_text(JAVA.format(python=sys.executable))
    java.chmod(stat.S_IRWXU)
    lib.mkdir(parents=True)
    (lib / "jars.json").write_text("{}")
    folder = tmp_path / "kafka"
    given = {"java": java, "cache_dir": tmp_path / "cache", "data_dir": folder, "port": 0, "kafka_version": "4.4.0"}
    flags = [word for name, value in given.items() for word in ("--set", f"broker.{name}={value}")]
    with sidestream_process("broker", "start", *flags) as process:
        until(lambda: (folder / "broker.json").exists() or process.poll(), "a node")
        node = json.loads((folder / "broker.json").read_text())["pid"]
        os.kill(node, 0)
        assert ended(process, number) == -number
    # Where nothing reaps orphans (an init that does not), the process id stays, of a process that has ended.
    assert not command_line(node)


@pytest.mark.slow
@BOTH
def test_the_demo_with_its_worker_and_broker(sidestream_process, tmp_path, number):
    pytest.importorskip("confluent_kafka")
    with sidestream_process("demo", "--set", "broker.kind=embedded", "--data-dir", tmp_path / "data") as process:
        line = until(lambda: next((line for line in process.stdout if "ready at" in line), None), "a worker")
        port = int(line.split("http://127.0.0.1:")[1].split()[0])
        assert ended(process, number) == -number
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
