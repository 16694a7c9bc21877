"""A broker that advertises an unresolvable host is reported before clients time out."""

import socket
import struct
import threading
from contextlib import contextmanager

import pytest

from sidestream.streams.broker.probe import brokers
from sidestream.streams.broker.reach import require_answer
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.security.advertised import require_resolvable


@contextmanager
def kafka_that_advertises(*addresses, answers=1):
    """First response of a broker; its own address is on loopback."""
    body = struct.pack(">i", len(addresses))
    for node, (host, port) in enumerate(addresses):
        body += struct.pack(">ih", node, len(host)) + host.encode() + struct.pack(">ih", port, -1)
    body += struct.pack(">ii", 1, 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for _ in range(answers):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1_000)
                    connection.sendall(struct.pack(">ii", 4 + len(body), 1) + body)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.fixture(autouse=True)
def _names(monkeypatch):
    real = socket.getaddrinfo

    def look_up(host, *args, **kwargs):
        if host == "kafka-internal":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_advertised_addresses_are_read():
    addresses = [("kafka-internal", 9092), ("127.0.0.1", 9093)]
    with kafka_that_advertises(*addresses) as bootstrap:
        assert brokers("127.0.0.1", int(bootstrap.rpartition(":")[2])) == addresses


def test_an_unresolvable_host_is_reported_with_a_remedy():
    with (
        kafka_that_advertises(("127.0.0.1", 9092), ("kafka-internal", 9093)) as bootstrap,
        pytest.raises(BrokerError, match=r"advertises kafka-internal:9093 .*advertised\.listeners"),
    ):
        require_answer(KafkaSettings(bootstrap=bootstrap))


def test_resolvable_hosts_are_accepted():
    with kafka_that_advertises(("localhost", 9092), ("127.0.0.1", 9093)) as bootstrap:
        require_answer(KafkaSettings(bootstrap=bootstrap))


async def test_log_in_reports_unresolvable_hosts(monkeypatch):
    async def fetch_brokers(*_):
        return [("kafka-internal", 9092)]

    monkeypatch.setattr("sidestream.streams.kafka.security.login._fetch_brokers", fetch_brokers)
    with pytest.raises(BrokerError, match="kafka-internal:9092"):
        await Clients(KafkaSettings(bootstrap="127.0.0.1:9")).log_in()


def test_no_advertised_hosts_are_accepted():
    require_resolvable("127.0.0.1:9", [])
