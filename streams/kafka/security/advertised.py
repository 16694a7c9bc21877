"""Check of advertised listeners: clients connect to these, not to the bootstrap address, so all must resolve."""

import socket
from collections.abc import Iterable

from sidestream.streams.errors import BrokerError


def require_resolvable(bootstrap: str, brokers: Iterable[tuple[str, int]]) -> None:
    """Reject brokers that advertise hosts this machine cannot resolve; clients would only time out.

    Args:
        bootstrap: Bootstrap address, for the error.
        brokers: Advertised host and port of each broker.

    Raises:
        BrokerError: A host does not resolve; the message names it.
    """
    unresolved = []
    for host, port in brokers:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            unresolved.append(f"{host}:{port} ({error.strerror or error})")
    if unresolved:
        msg = (
            f"kafka at {bootstrap} answers, but advertises {', '.join(unresolved)}, which does not resolve here; "
            "correct advertised.listeners on the broker, or make the name resolvable on this machine"
        )
        raise BrokerError(msg)
