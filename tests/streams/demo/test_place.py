import sys

import pytest

from sidestream.streams.broker import BrokerSettings, process
from sidestream.streams.broker.node import Node
from sidestream.streams.demo.place import KAFKA, demo_place
from sidestream.streams.errors import BrokerError


def test_one_demo_at_a_time(tmp_path):
    settings = BrokerSettings()
    with demo_place(tmp_path / "demo", settings) as place:
        assert place.is_dir()
        with pytest.raises(BrokerError, match="another demo"), demo_place(tmp_path / "demo", settings):
            pass
    with demo_place(tmp_path / "demo", settings):
        pass


def test_a_kafka_of_a_killed_demo_is_stopped(tmp_path):
    folder = tmp_path / "demo" / KAFKA
    folder.mkdir(parents=True)
    properties = folder / "server.properties"
    # What recognises a node is its command line; a sleeper with the same one stands for it.
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)", "kafka.Kafka", str(properties)]
    pid = process.spawn(sleeper, tmp_path / "log")
    node = Node(pid, 9, str(properties), str(tmp_path / "log"))
    (folder / "broker.json").write_text(
        f'{{"pid": {pid}, "port": 9, "properties": "{properties}", "log": "{tmp_path / "log"}"}}'
    )
    try:
        with demo_place(tmp_path / "demo", BrokerSettings()):
            assert not node.is_running
    finally:
        process.end(pid, node.mark, 1.0)
