"""The command line run inside the test's own process: a process of its own for each would cost seconds of CPU."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from sidestream.streams.broker.embedded import EmbeddedBroker
from sidestream.streams.cli.main import main
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.runtime import termination
from sidestream.streams.settings import Settings


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def sidestream(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder, as a program would: stdout is no terminal."""
    monkeypatch.chdir(tmp_path)
    # The signals of the test run stay its own.
    monkeypatch.setattr(termination, "install_handlers", lambda: None)

    def run(*args, code=0):
        monkeypatch.setattr(sys, "argv", ["sidestream", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        found = ended.value.code or 0
        assert code is None or found == code, f"exit code {found}: {shown.err}"
        return Ended(found, shown.out, shown.err)

    return run


@pytest.fixture
def sidestream_process(request, tmp_path):
    """Start a command in a process and session of its own, in an empty folder; killed if the test leaves it running."""

    @contextmanager
    def start(*args, **change):
        process = subprocess.Popen(
            [sys.executable, "-m", "sidestream.streams.cli.entry", *map(str, args)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(request.config.rootpath)},
            **{
                "stdout": subprocess.PIPE,
                "stderr": subprocess.STDOUT,
                "stdin": subprocess.DEVNULL,
                "text": True,
                "start_new_session": True,
                **change,
            },
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    return start


@dataclass(frozen=True)
class EmbeddedTopics:
    """The topics on an embedded broker of this process."""

    bootstrap: str

    @property
    def flags(self):
        """Settings of a command that is to use them."""
        return ["--set", f"kafka.bootstrap={self.bootstrap}", "--set", "kafka.kind=embedded"]

    def send(self, topic, value, key=b"u"):
        """Publish a record, and wait for its acknowledgement."""
        producer = Clients(KafkaSettings(bootstrap=self.bootstrap, kind="embedded")).producer()
        try:
            producer.send(topic, key=key, value=value, partition=0).get(20)
        finally:
            producer.close()


@pytest.fixture
def embedded_topics():
    pytest.importorskip("confluent_kafka")
    with EmbeddedBroker() as broker:
        create_topics(broker, build_topics(Settings().topics))
        yield EmbeddedTopics(broker.bootstrap)
