"""The addresses that brokers advertise: clients connect to those, not to the bootstrap address, so all must resolve."""

import socket
from collections.abc import Iterable

from sidestream.streams.errors import BrokerError


def require_resolvable(bootstrap: str, brokers: Iterable[tuple[str, int]]) -> None:
    """Refuse a Kafka whose brokers advertise hosts that this machine cannot find; clients would only time out.

    Args:
        bootstrap: Where the brokers were asked for.
        brokers: Host and port of each.

    Raises:
        BrokerError: One does not resolve; names it.
    """
    lost = []
    for host, port in brokers:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            lost.append(f"{host}:{port} ({error.strerror or error})")
    if lost:
        msg = (
            f"kafka at {bootstrap} answers, but advertises {', '.join(lost)}, which does not resolve here; correct "
            "advertised.listeners on the broker, or let this machine know the name"
        )
        raise BrokerError(msg)
