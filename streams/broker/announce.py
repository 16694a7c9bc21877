"""Registers local brokers by name in the registry of running brokers, so that commands in any folder find them."""

from pathlib import Path

from sidestream.streams.broker import local
from sidestream.streams.broker.local import LocalKafka
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.running.brokers import BrokerEntry, broker_registry, free_name, make_entry, name_of_folder


def data_folder(settings: BrokerSettings) -> Path:
    """Return the data folder in the form that identifies a broker: absolute, with links resolved."""
    return settings.data_dir.expanduser().resolve()


def running_brokers() -> list[BrokerEntry]:
    """List the local brokers that run on this machine, sorted by name."""
    return broker_registry().running()


def entry_of(settings: BrokerSettings) -> BrokerEntry | None:
    """Find the entry of this data folder's broker; `None` if there is none."""
    folder = str(data_folder(settings))
    return next((entry for entry in running_brokers() if entry.data_dir == folder), None)


def name_for(settings: BrokerSettings) -> str:
    """Choose the name of this data folder's broker: the given one or the folder's, numbered where another has it."""
    folder = data_folder(settings)
    return free_name(settings.name or name_of_folder(folder), folder, running_brokers())


def announce_kafka(settings: BrokerSettings, node: LocalKafka) -> tuple[str, str]:
    """Register a local Kafka, unless it already was when it started.

    Args:
        settings: Data folder, and optionally the broker's name.
        node: The running node.

    Returns:
        Its name, and a note for the user; usually empty.
    """
    known = entry_of(settings)
    if known is not None and known.pid == node.pid:
        return known.name, ""
    name, folder = name_for(settings), data_folder(settings)
    started_at = local.started_at(settings)
    return _put(make_entry(name, "kafka", node.bootstrap, node.pid, folder, started_at, node.log))


def announce_embedded(settings: BrokerSettings, bootstrap: str, pid: int, started_at: int) -> tuple[str, str]:
    """Register an embedded broker.

    Args:
        settings: Data folder, and optionally the broker's name.
        bootstrap: Its address.
        pid: The process that it runs in.
        started_at: UTC epoch ms.

    Returns:
        Its name, and a note for the user; usually empty.
    """
    return _put(make_entry(name_for(settings), "embedded", bootstrap, pid, data_folder(settings), started_at))


def withdraw(settings: BrokerSettings) -> None:
    """Remove the entry of this data folder's broker after it has been stopped."""
    entry = entry_of(settings)
    if entry is not None:
        broker_registry().remove(entry)


def _put(entry: BrokerEntry) -> tuple[str, str]:
    registry = broker_registry()
    try:
        registry.put(entry)
    except OSError as error:
        # The broker works with a read-only home directory too; only commands in its own folder find it then.
        reason = error.strerror or str(error)
        note = f"{registry.folder} cannot be written ({reason}): commands in other folders do not find this broker"
        return entry.name, note
    return entry.name, ""
