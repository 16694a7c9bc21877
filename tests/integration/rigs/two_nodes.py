"""A Kafka of two nodes whose transaction log needs both: the second node dies, and the log is below its min ISR."""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from kafka.errors import RetriableError

from sidestream.streams.broker import BrokerSettings, jars, local, process, start_broker
from sidestream.streams.broker.probe import free_ports, is_answering
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.kafka.clients import Clients
from tests.integration.rigs.failure_rig import make_own_topics

TRANSACTION_LOG = "transaction.state.log.replication.factor=2\ntransaction.state.log.min.isr=2\n"
# A dead node is noticed within its session with the controller; a follower leaves the ISR after its lag time.
QUICK = "broker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500\nreplica.lag.time.max.ms=2000\n"


class TwoNodeKafka:
    """Everything is stored on the first node, except for the transaction log, which is on both."""

    def __init__(self, folder: Path) -> None:
        files = folder / "files"
        shutil.copytree(jars.kafka_files(BrokerSettings()), files)
        with (files / "server.properties").open("a") as properties:  # the later of two equal names wins
            properties.write(TRANSACTION_LOG + QUICK)
        self.settings = BrokerSettings(kind="kafka", port=0, data_dir=folder / "first", kafka_files=files)
        self.broker = start_broker(self.settings)
        self._second = folder / "second"
        self._second.mkdir()
        (self._port,) = free_ports(1)
        self._pid = 0

    @property
    def kafka(self):
        return self.broker.kafka

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    def make_topics(self) -> Topics:
        """Make the topics, and the topic of group offsets, while there is one node alone: they stay there."""
        topics = make_own_topics(self.broker, "two-")
        admin = Clients(self.kafka).admin()
        try:
            deadline = time.monotonic() + 30
            while "__consumer_offsets" not in admin.list_topics():
                assert time.monotonic() < deadline, "no topic of group offsets"
                # The first question makes it.
                with suppress(RetriableError):
                    admin.list_group_offsets(["nobody"])
        finally:
            admin.close()
        return topics

    def start_second(self) -> None:
        """Start the second node, or bring it back with its data."""
        properties, log = self._second / "server.properties", self._second / "kafka.log"
        java, lib = jars.find_java(self.settings), jars.ensure_jars(self.settings)
        jvm = [str(java), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{lib}/*"]
        if not properties.exists():
            properties.write_text(self._properties())
            meta = (self.settings.data_dir / "topics" / "meta.properties").read_text()
            (cluster,) = re.findall(r"^cluster\.id=(.+)$", meta, re.MULTILINE)
            command = [*jvm, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
            subprocess.run(command, check=True, capture_output=True)
        self._pid = process.spawn([*jvm, "kafka.Kafka", str(properties)], log)
        deadline = time.monotonic() + 60
        while not is_answering("127.0.0.1", self._port):
            assert process.command_line(self._pid), log.read_text()[-2_000:]
            assert time.monotonic() < deadline, "the second node does not answer"
            time.sleep(0.05)

    def kill_second(self) -> None:
        """End the second node as a crash would."""
        os.kill(self._pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while process.command_line(self._pid):
            assert time.monotonic() < deadline, "the second node survived SIGKILL"
            time.sleep(0.02)

    def stop(self) -> None:
        process.end(self._pid, str(self._second), 10.0)
        local.stop(self.settings)

    def _properties(self) -> str:
        text = (self.settings.data_dir / "server.properties").read_text()
        changes = {
            "process.roles": "broker",
            "node.id": "2",
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self._port}",
            "log.dirs": str(self._second / "topics"),
        }
        return text + "".join(f"{name}={value}\n" for name, value in changes.items())
