"""`sidestream state get` without a worker: what answers instead, in plain words."""

import socket
import threading
from contextlib import contextmanager

import pytest


@contextmanager
def server(answer):
    """A server that answers each connection with some bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def asked(sidestream, port, host="127.0.0.1"):
    done = sidestream("state", "get", "u", "--set", f"web.port={port}", "--set", f"web.host={host}", code=1)
    (line,) = done.err.strip().splitlines()
    for part in ("urlopen", "Errno", "<", "Traceback"):
        assert part not in line
    return line


def test_nobody_answers(sidestream):
    line = asked(sidestream, 9)
    assert line.endswith(
        "no worker answers there (Connection refused); start one, or set web.host and web.port to its own"
    )


def test_a_host_that_does_not_exist(sidestream):
    assert "no worker answers there (" in asked(sidestream, 9, "no-such-host.invalid")


@pytest.mark.parametrize(
    "answer", [b"220 mail\r\n", b"HTTP/1.0 200 OK\r\n\r\n<html>", b"HTTP/1.0 200 OK\r\n\r\n\xff", b"\0\1", b""]
)
def test_something_else_answers(sidestream, answer):
    with server(answer) as port:
        assert "expected JSON from a worker, something else answers there" in asked(sidestream, port)
