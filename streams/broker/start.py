"""Provides a broker: the given one, a local Apache Kafka, or the embedded one, behind one object.

Order of `auto`: the address in the settings; else Apache Kafka if Java and its jars are available; else the embedded
broker, with the reason in a note. A Kafka that is available but does not start is an error, never a silent fallback.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from sidestream.streams.broker import jars, local
from sidestream.streams.broker.announce import (
    announce_embedded,
    announce_kafka,
    data_folder,
    entry_of,
    running_brokers,
    withdraw,
)
from sidestream.streams.broker.embedded import EmbeddedBroker, has_library
from sidestream.streams.broker.reach import refuse_security, require_answer
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.contracts.topics import TopicAdmin
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.admin import KafkaTopicAdmin
from sidestream.streams.kafka.clients import BrokerKind, Clients, KafkaSettings

# What the user must know about the embedded broker, in one sentence that the reason follows.
EMBEDDED_NOTE = (
    "the embedded broker is used instead of Apache Kafka: it keeps records in memory, only while this process runs, "
    "without compaction, transactions or persistence"
)


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that answers.

    Attributes:
        kafka: Client settings for this broker, with address and kind.
        is_ours: Whether this process started it, so that `stop` stops it.
        note: Note for the user about the choice; empty if the broker was requested explicitly.
        name: Name of the local broker; empty for a given address.
    """

    kafka: KafkaSettings
    is_ours: bool
    note: str = ""
    settings: BrokerSettings = field(default_factory=BrokerSettings)
    embedded: EmbeddedBroker | None = None
    name: str = ""

    @property
    def kind(self) -> BrokerKind:
        """The kind of broker."""
        return self.kafka.kind

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return self.kafka.bootstrap or ""

    def topic_admin(self) -> TopicAdmin:
        """Open an admin client for its topics; the caller closes it."""
        return self.embedded or KafkaTopicAdmin(Clients(self.kafka))

    def stop(self) -> None:
        """Stop the broker if this process started it; else leave it alone."""
        if self.embedded is not None:
            self.embedded.stop()
            withdraw(self.settings)
        elif self.is_ours and self.kind == "kafka":
            stop_broker(self.settings)


def start_broker(settings: BrokerSettings, kafka: KafkaSettings | None = None) -> RunningBroker:
    """Find or start a broker; a local Kafka keeps running when this process ends, unless `stop` is called.

    A running broker is used if there is one: that at the address, the one named `broker.name`, or this data folder's.
    With `broker.name`, a broker of this data folder that has another name is never used.

    Args:
        settings: Which broker to start and where its files are.
        kafka: Client settings; with an address nothing is started.

    Returns:
        The broker, which answers.

    Raises:
        BrokerError: None is available; the message says what is missing.
        SettingsError: Security is configured without an address.
    """
    kafka = kafka or KafkaSettings()
    if kafka.bootstrap:
        return _external(settings, kafka)
    refuse_security(kafka)
    found = _running_under_name(settings, kafka)
    if found is not None:
        return found
    _refuse_other_name(settings)
    if settings.kind == "embedded":
        return _embedded(settings, kafka, "")
    if settings.kind == "auto":
        try:
            jars.require_kafka(settings)
            jars.ensure_jars(settings)
        except BrokerError as error:
            if not has_library():
                msg = (
                    f"no broker is available: {error}. Or install the embedded broker, which needs no Java: "
                    "pip install 'sidestream[embedded]'"
                )
                raise BrokerError(msg) from error
            return _embedded(settings, kafka, f"{EMBEDDED_NOTE} ({error})")
    node, started = local.start(settings)
    connection = kafka.model_copy(update={"bootstrap": node.bootstrap, "kind": "kafka"})
    name, note = announce_kafka(settings, node)
    return RunningBroker(connection, is_ours=started, note=note, settings=settings, name=name)


def stop_broker(settings: BrokerSettings) -> bool:
    """Stop the local Kafka of this data folder, regardless of which process started it.

    Args:
        settings: Data folder and limits.

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
    """Find the broker of another folder that is named `broker.name`."""
    here = str(data_folder(settings))
    for entry in running_brokers():
        if settings.name is not None and entry.name == settings.name and entry.data_dir != here:
            connection = kafka.model_copy(update={"bootstrap": entry.bootstrap, "kind": entry.kind})
            require_answer(connection)
            note = f"using the running broker {entry.name} of {entry.data_dir}"
            its_own = settings.model_copy(update={"data_dir": Path(entry.data_dir)})
            return RunningBroker(connection, is_ours=False, note=note, settings=its_own, name=entry.name)
    return None


def _refuse_other_name(settings: BrokerSettings) -> None:
    """Reject a name if a broker with another one runs in this data folder: two cannot share it."""
    entry = entry_of(settings)
    if settings.name is None or entry is None or entry.name == settings.name:
        return
    msg = (
        f"broker.name: expected no broker or one named {settings.name!r} in {entry.data_dir}, got {entry.name!r}, "
        f"which runs there; use --broker {entry.name}, stop it (`sidestream broker stop {entry.name}`), or give "
        f"{settings.name} a folder of its own (--data-dir)"
    )
    raise BrokerError(msg)


def _embedded(settings: BrokerSettings, kafka: KafkaSettings, note: str) -> RunningBroker:
    broker = EmbeddedBroker()
    connection = kafka.model_copy(update={"bootstrap": broker.bootstrap, "kind": "embedded"})
    name, registry_note = announce_embedded(settings, broker.bootstrap, os.getpid(), _now_ms())
    note = "; ".join(filter(None, (note, registry_note)))
    return RunningBroker(connection, is_ours=True, note=note, settings=settings, embedded=broker, name=name)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
