"""Having a broker: the given one, a local Apache Kafka, or the embedded one, behind one object.

Order of `auto`: the address in the settings; else Apache Kafka where Java and its jars can be had; else the embedded
broker, and the reason is told. A Kafka that could be had but does not come up is an error, never a silent fallback.
"""

import os
import time
from dataclasses import dataclass, field

from sidestream.streams.broker import jars, local
from sidestream.streams.broker.announce import announce_embedded, announce_kafka, data_folder, running_brokers, withdraw
from sidestream.streams.broker.embedded import EmbeddedBroker, has_library
from sidestream.streams.broker.reach import refuse_security, require_answer
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.contracts.topics import TopicAdmin
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import BrokerKind, Clients, KafkaSettings

# What a person must know of the embedded broker, in one sentence with the reason before it.
STAND_IN = (
    "the embedded broker stands in for Apache Kafka: it keeps records in memory and for this process alone, without "
    "compaction, transactions or a restart"
)


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that answers.

    Attributes:
        kafka: Settings for the clients of this broker, address and kind filled in.
        is_ours: Whether this process started it, so that `stop` ends it.
        note: What a person should know about the choice; empty where it was asked for.
        name: What the local broker is called; empty for a given address.
    """

    kafka: KafkaSettings
    is_ours: bool
    note: str = ""
    settings: BrokerSettings = field(default_factory=BrokerSettings)
    embedded: EmbeddedBroker | None = None
    name: str = ""

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
            withdraw(self.settings)
        elif self.is_ours and self.kind == "kafka":
            stop_broker(self.settings)


def start_broker(settings: BrokerSettings, kafka: KafkaSettings | None = None) -> RunningBroker:
    """Have a broker; a local Kafka stays up when this process ends, unless `stop` is called.

    A broker that already runs is used: the one at the address, the one called `broker.name`, or this data folder's.

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
    found = _running_under_name(settings, kafka)
    if found is not None:
        return found
    if settings.kind == "embedded":
        return _embedded(settings, kafka, "")
    if settings.kind == "auto":
        try:
            jars.require_kafka(settings)
            jars.ensure_jars(settings)
        except BrokerError as error:
            if not has_library():
                msg = (
                    f"no broker can be had: {error}. Or install the embedded broker, which needs no Java: "
                    "pip install 'sidestream[embedded]'"
                )
                raise BrokerError(msg) from error
            return _embedded(settings, kafka, f"{STAND_IN} ({error})")
    node, started = local.start(settings)
    connection = kafka.model_copy(update={"bootstrap": node.bootstrap, "kind": "kafka"})
    name, note = announce_kafka(settings, node, local.started_at(settings))
    return RunningBroker(connection, is_ours=started, note=note, settings=settings, name=name)


def stop_broker(settings: BrokerSettings) -> bool:
    """Stop the local Kafka of this data folder, whoever started it.

    Args:
        settings: Names the data folder.

    Returns:
        Whether one was running.
    """
    was_running = local.stop(settings)
    if was_running:
        withdraw(settings)
    return was_running


def _external(settings: BrokerSettings, kafka: KafkaSettings) -> RunningBroker:
    require_answer(kafka)
    return RunningBroker(kafka, is_ours=False, settings=settings)


def _running_under_name(settings: BrokerSettings, kafka: KafkaSettings) -> RunningBroker | None:
    """Find the broker of another folder that is called `broker.name`."""
    here = str(data_folder(settings))
    for entry in running_brokers():
        if settings.name is not None and entry.name == settings.name and entry.data_dir != here:
            connection = kafka.model_copy(update={"bootstrap": entry.bootstrap, "kind": entry.kind})
            require_answer(connection)
            note = f"using broker {entry.name}, which runs already, of {entry.data_dir}"
            return RunningBroker(connection, is_ours=False, note=note, settings=settings, name=entry.name)
    return None


def _embedded(settings: BrokerSettings, kafka: KafkaSettings, note: str) -> RunningBroker:
    broker = EmbeddedBroker()
    connection = kafka.model_copy(update={"bootstrap": broker.bootstrap, "kind": "embedded"})
    name, unwritten = announce_embedded(settings, broker.bootstrap, os.getpid(), _now_ms())
    note = "; ".join(filter(None, (note, unwritten)))
    return RunningBroker(connection, is_ours=True, note=note, settings=settings, embedded=broker, name=name)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
