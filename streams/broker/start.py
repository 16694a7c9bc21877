"""Having a broker: the given one, a local Apache Kafka, or the embedded one, behind one object.

Order of `auto`: the address in the settings; else Apache Kafka where Java and its jars can be had; else the embedded
broker, and the reason is told. A Kafka that could be had but does not come up is an error, never a silent fallback.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sidestream.streams.advertised import require_resolvable
from sidestream.streams.broker import jars, local, probe
from sidestream.streams.broker.embedded import EmbeddedBroker, has_library
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.contracts.topics import TopicAdmin
from sidestream.streams.errors import BrokerError, SettingsError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import BrokerKind, Clients, KafkaSettings


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that answers.

    Attributes:
        kafka: Settings for the clients of this broker, address and kind filled in.
        is_ours: Whether this process started it, so that `stop` ends it.
        note: What a person should know about the choice; empty where it was asked for.
    """

    kafka: KafkaSettings
    is_ours: bool
    note: str = ""
    settings: BrokerSettings = field(default_factory=BrokerSettings)
    embedded: EmbeddedBroker | None = None

    @property
    def kind(self) -> BrokerKind:
        """Which broker it is."""
        return self.kafka.kind

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return self.kafka.bootstrap or ""

    def topic_admin(self) -> TopicAdmin:
        """Open what sees and makes its topics; the caller closes it."""
        return self.embedded or KafkaTopicAdmin(Clients(self.kafka))

    def stop(self) -> None:
        """End the broker if this process started it; else leave it alone."""
        if self.embedded is not None:
            self.embedded.stop()
            _announcement(self.settings).unlink(missing_ok=True)
        elif self.is_ours and self.kind == "kafka":
            local.stop(self.settings)


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What is known of a broker without starting it."""

    kind: BrokerKind | Literal["none"]
    is_running: bool
    bootstrap: str | None = None
    pid: int | None = None
    log: str | None = None
    data_dir: str | None = None
    detail: str = ""


def start_broker(settings: BrokerSettings, kafka: KafkaSettings | None = None) -> RunningBroker:
    """Have a broker; a local Kafka stays up when this process ends, unless `stop` is called.

    Args:
        settings: Which broker to start and where its files lie.
        kafka: Client settings; with an address nothing is started.

    Returns:
        The broker, answering.

    Raises:
        BrokerError: None can be had; the message says what is missing.
        SettingsError: Security is asked for without the address of a Kafka that has it.
    """
    kafka = kafka or KafkaSettings()
    if kafka.bootstrap:
        return _external(settings, kafka)
    refuse_security(kafka)
    if settings.kind == "embedded":
        return _embedded(settings, kafka, "")
    if settings.kind == "auto":
        try:
            jars.require_kafka(settings)
            jars.ensure_jars(settings)
        except BrokerError as error:
            if not has_library():
                msg = f"{error}; the embedded broker is no way out: confluent-kafka is not installed"
                raise BrokerError(msg) from error
            return _embedded(settings, kafka, f"embedded broker instead of Apache Kafka: {error}")
    node, started = local.start(settings)
    connection = kafka.model_copy(update={"bootstrap": node.bootstrap, "kind": "kafka"})
    return RunningBroker(connection, is_ours=started, settings=settings)


def broker_status(settings: BrokerSettings, kafka: KafkaSettings | None = None) -> BrokerStatus:
    """Say what runs.

    Args:
        settings: Names the data folder of the local Kafka.
        kafka: Client settings; with an address that broker is asked.

    Returns:
        What is known.
    """
    if kafka is not None and kafka.bootstrap:
        try:
            require_answer(kafka)
        except BrokerError as error:
            return BrokerStatus("external", False, kafka.bootstrap, detail=str(error))
        return BrokerStatus("external", True, kafka.bootstrap)
    data_dir = str(settings.data_dir.expanduser().resolve())
    node = local.find(settings)
    if node is None:
        address = _announced(settings)
        if address is not None:
            detail = "it lives inside another process and ends with it"
            return BrokerStatus("embedded", True, address, data_dir=data_dir, detail=detail)
        return BrokerStatus("none", False, data_dir=data_dir, detail="not started; run `sidestream broker start`")
    is_up = probe.is_answering(local.HOST, node.port)
    detail = "" if is_up else f"the process runs but does not answer; see {node.log}"
    return BrokerStatus("kafka", is_up, node.bootstrap, node.pid, node.log, data_dir, detail)


def stop_broker(settings: BrokerSettings) -> bool:
    """Stop the local Kafka of this data folder, whoever started it.

    Args:
        settings: Names the data folder.

    Returns:
        Whether one was running.
    """
    return local.stop(settings)


def require_answer(kafka: KafkaSettings) -> None:
    """Refuse an address where no Kafka answers, or one that does not let us in.

    Args:
        kafka: Client settings with an address.

    Raises:
        AccessError: A Kafka is there, but does not let us in or is not to be trusted.
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
            "kafka.security.protocol, or leave the address out"
        )
        raise BrokerError(msg)
    require_resolvable(kafka.bootstrap or "", brokers)


def refuse_security(kafka: KafkaSettings) -> None:
    """Refuse security without an address: the brokers that we start ourselves serve loopback in PLAINTEXT.

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


def _external(settings: BrokerSettings, kafka: KafkaSettings) -> RunningBroker:
    require_answer(kafka)
    return RunningBroker(kafka, is_ours=False, settings=settings)


def _embedded(settings: BrokerSettings, kafka: KafkaSettings, note: str) -> RunningBroker:
    broker = EmbeddedBroker()
    connection = kafka.model_copy(update={"bootstrap": broker.bootstrap, "kind": "embedded"})
    announcement = _announcement(settings)
    announcement.parent.mkdir(parents=True, exist_ok=True)
    announcement.write_text(broker.bootstrap)
    return RunningBroker(connection, is_ours=True, note=note, settings=settings, embedded=broker)


def _announcement(settings: BrokerSettings) -> Path:
    """Name the file by which commands in other processes find the embedded broker."""
    return settings.data_dir.expanduser().resolve() / "embedded.address"


def _announced(settings: BrokerSettings) -> str | None:
    try:
        address = _announcement(settings).read_text()
    except OSError:
        return None
    # A process that was killed leaves its announcement behind.
    host, _, port = address.rpartition(":")
    return address if port.isdigit() and probe.is_answering(host, int(port)) else None


def _brokers_at(bootstrap: str) -> list[tuple[str, int]]:
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if port.isdigit() and (found := probe.brokers(host.strip("[]") or local.HOST, int(port))):
            return found
    return []
