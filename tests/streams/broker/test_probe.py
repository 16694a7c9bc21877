"""The health check accepts Kafka brokers only."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sidestream.streams.broker.probe import free_ports, is_answering, is_port_free


@contextmanager
def server(answer: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1_000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def metadata(*ports: int) -> bytes:
    body = struct.pack(">ii", 1, len(ports))
    for node, port in enumerate(ports):
        body += struct.pack(">ih", node, 4) + b"host" + struct.pack(">ih", port, -1)
    body += struct.pack(">ii", 1, 0)
    return struct.pack(">i", len(body)) + body


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", struct.pack(">i", -1), struct.pack(">i", 100) + b"short", metadata()],
)
def test_probe_rejects_other_servers(answer: bytes) -> None:
    with server(answer) as port:
        assert not is_answering("127.0.0.1", port)


def test_probe_requires_that_the_broker_lists_itself() -> None:
    with server(metadata(1, 2)) as port:
        assert not is_answering("127.0.0.1", port)
    with server(metadata(1, 2)) as port:
        assert is_answering("127.0.0.1", port, names_itself=False)


def test_probe_rejects_a_closed_port_and_free_ports_are_free() -> None:
    first, second = free_ports(2)
    assert first != second
    assert not is_answering("127.0.0.1", first)
    assert is_port_free(first)
    with socket.create_server(("127.0.0.1", second)):
        assert not is_port_free(second)
