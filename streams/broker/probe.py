"""The health check of a broker: one Metadata request over a plain socket, without a client library and its retries.

A broker that lists itself in its answer is registered and serves requests; an open port alone does not show that.
Source: Kafka protocol guide, Metadata request and response, version 1.
"""

import socket
import struct

METADATA_KEY, METADATA_VERSION = 3, 1
CLIENT_ID = b"sidestream-probe"


def is_answering(host: str, port: int, *, names_itself: bool = True, timeout_s: float = 1.0) -> bool:
    """Whether a broker serves at the address.

    Args:
        host: Host.
        port: Port.
        names_itself: Require that a broker advertises this port; not the case behind a load balancer.
        timeout_s: Limit for connecting and for each read.

    Returns:
        False if there is no answer, or not that of a Kafka broker.
    """
    ports = {advertised for _, advertised in brokers(host, port, timeout_s=timeout_s)}
    return port in ports if names_itself else bool(ports)


def brokers(host: str, port: int, *, timeout_s: float = 1.0) -> list[tuple[str, int]]:
    """Request the brokers of a cluster.

    Args:
        host: Host of one of them.
        port: Its port.
        timeout_s: Limit for connecting and for each read.

    Returns:
        Advertised host and port of each; empty if there is no answer, or not that of a Kafka broker.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(_request())
            size = struct.unpack(">i", _read(connection, 4))[0]
            # Without topics the answer has a few hundred bytes at most: a larger size is not Kafka's.
            return _brokers(_read(connection, size)) if 0 < size < 65_536 else []
    except (OSError, ValueError, struct.error):
        return []


def _request() -> bytes:
    header = struct.pack(">hhih", METADATA_KEY, METADATA_VERSION, 1, len(CLIENT_ID)) + CLIENT_ID
    body = header + struct.pack(">i", 0)  # an empty list of topics: only the brokers
    return struct.pack(">i", len(body)) + body


def _brokers(answer: bytes) -> list[tuple[str, int]]:
    count, at = struct.unpack_from(">i", answer, 4)[0], 8  # after the correlation id
    found = []
    for _ in range(count):
        host_size = struct.unpack_from(">h", answer, at + 4)[0]
        at += 6 + host_size
        port, rack_size = struct.unpack_from(">ih", answer, at)
        found.append((answer[at - host_size : at].decode(), port))
        at += 6 + max(rack_size, 0)
    return found


def _read(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            msg = f"expected {size} bytes, got {len(parts)}"
            raise ValueError(msg)
        parts += part
    return bytes(parts)


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As servers do: a port with connections in TIME_WAIT counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Find free loopback ports, all different. Another program may take one before it is used."""
    listeners = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
