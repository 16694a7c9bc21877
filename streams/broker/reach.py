"""Checks that a Kafka answers at a given address and accepts our credentials."""

from sidestream.streams.broker import probe
from sidestream.streams.broker.node import HOST
from sidestream.streams.errors import BrokerError, SettingsError
from sidestream.streams.kafka.clients import Clients, KafkaSettings
from sidestream.streams.kafka.security.advertised import require_resolvable


def require_answer(kafka: KafkaSettings) -> None:
    """Check that a Kafka answers at the address and accepts our credentials.

    Args:
        kafka: Client settings with an address.

    Raises:
        AccessError: A Kafka answers, but authentication or the check of its certificate failed.
        BrokerError: None answers, or one advertises a host that does not resolve.
    """
    if kafka.security.protocol != "PLAINTEXT":
        from sidestream.streams.kafka.security import (
            wait_for_login,  # aiokafka: only where there is something to log in to
        )

        wait_for_login(Clients(kafka).log_in())
        return
    brokers = _brokers_at(kafka.bootstrap or "")
    if not brokers:
        msg = (
            f"expected a Kafka at {kafka.bootstrap}, but none answers in PLAINTEXT; check kafka.bootstrap and "
            "kafka.security.protocol, or omit the address"
        )
        raise BrokerError(msg)
    require_resolvable(kafka.bootstrap or "", brokers)


def refuse_security(kafka: KafkaSettings) -> None:
    """Reject security settings without an address: local brokers serve PLAINTEXT on loopback.

    Args:
        kafka: Client settings without an address.

    Raises:
        SettingsError: A security protocol is set.
    """
    if kafka.security.protocol != "PLAINTEXT":
        msg = (
            f"kafka.security.protocol={kafka.security.protocol} needs kafka.bootstrap, got none: "
            "the local broker speaks PLAINTEXT on loopback"
        )
        raise SettingsError(msg)


def _brokers_at(bootstrap: str) -> list[tuple[str, int]]:
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if port.isdigit() and (found := probe.brokers(host.strip("[]") or HOST, int(port))):
            return found
    return []
