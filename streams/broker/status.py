"""The running local brokers, and the one that a command without an address uses."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sidestream.streams.broker import local, probe
from sidestream.streams.broker.announce import data_folder, entry_of, running_brokers
from sidestream.streams.broker.local import LocalKafka
from sidestream.streams.broker.node import HOST
from sidestream.streams.broker.reach import require_answer
from sidestream.streams.broker.settings import BrokerSettings
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import BrokerKind, KafkaSettings
from sidestream.streams.running.brokers import BrokerEntry


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The state of a broker, found without starting it."""

    kind: BrokerKind | Literal["none"]
    is_running: bool
    bootstrap: str | None = None
    pid: int | None = None
    log: str | None = None
    data_dir: str | None = None
    detail: str = ""
    name: str | None = None
    started_at: int | None = None

    @property
    def age_s(self) -> float | None:
        """How long it has been running; None if unknown."""
        return None if self.started_at is None else time.time() - self.started_at / 1e3


def broker_status(settings: BrokerSettings, kafka: KafkaSettings | None = None) -> BrokerStatus:
    """Return the status of the broker at the given address, else of this data folder's.

    Args:
        settings: Data folder of the local broker.
        kafka: Client settings; with an address that broker is checked.

    Returns:
        The status.
    """
    if kafka is not None and kafka.bootstrap:
        try:
            require_answer(kafka)
        except BrokerError as error:
            return BrokerStatus("external", False, kafka.bootstrap, detail=str(error))
        return BrokerStatus("external", True, kafka.bootstrap)
    data_dir, entry = str(data_folder(settings)), entry_of(settings)
    name, started_at = (entry.name, entry.started_at) if entry is not None else (None, None)
    node = local.find(settings)
    if node is not None:
        is_up, detail = _health(node)
        return BrokerStatus(
            "kafka", is_up, node.bootstrap, node.pid, node.log, data_dir, detail, name, started_at
        )  # fmt: skip
    if entry is not None and entry.kind == "embedded":
        return _status_of(entry)
    return BrokerStatus("none", False, data_dir=data_dir, detail="not started; run `sidestream broker start`")


def all_brokers() -> list[BrokerStatus]:
    """Return the status of all local brokers that run on this machine."""
    return [_status_of(entry) for entry in running_brokers()]


def find_broker(settings: BrokerSettings) -> BrokerStatus:
    """Find the local broker that a command without an address uses.

    That is the one named `broker.name`, if a name is given; else the one of this data folder; else the one that was
    started from the working folder; else the only running one.

    Args:
        settings: Name and data folder.

    Returns:
        A broker that answers.

    Raises:
        BrokerError: None runs, several run and none of them is this folder's, or it does not answer.
    """
    if settings.name is not None:
        return _answering(_named(settings.name))
    here = broker_status(settings)
    if here.kind != "none":
        return _answering(here)
    running = running_brokers()
    from_here = [entry for entry in running if Path(entry.folder) == Path.cwd()]
    for chosen in (from_here, running):
        if len(chosen) == 1:
            return _answering(_status_of(chosen[0]))
    if not running:
        msg = (
            f"no Kafka answers: expected one at the local broker of {here.data_dir}, and no other local broker runs; "
            "run `sidestream broker start` or set kafka.bootstrap"
        )
        raise BrokerError(msg)
    msg = f"{len(running)} local brokers run: {describe_brokers(running)}; choose one with --broker NAME"
    raise BrokerError(msg)


def describe_brokers(entries: Sequence[BrokerEntry]) -> str:
    """List brokers in one line, for messages."""
    return ", ".join(f"{entry.name} ({entry.bootstrap}, {entry.data_dir})" for entry in entries)


def _named(name: str) -> BrokerStatus:
    running = running_brokers()
    for entry in running:
        if entry.name == name:
            return _status_of(entry)
    others = f"running: {describe_brokers(running)}" if running else "none runs"
    msg = f"broker.name: expected a running local broker named {name!r}, got none ({others})"
    raise BrokerError(msg)


def _answering(status: BrokerStatus) -> BrokerStatus:
    if not status.is_running:
        msg = f"no Kafka answers: expected one at {status.bootstrap} ({status.name or 'local'}); {status.detail}"
        raise BrokerError(msg)
    return status


def _health(kafka: LocalKafka) -> tuple[bool, str]:
    """Return whether a local Kafka answers, and what is to be said of it."""
    running = kafka.running
    answering = [one for one in running if probe.is_answering(HOST, one.port)]
    if len(answering) == len(kafka.nodes):
        return True, ""
    if len(kafka.nodes) == 1:
        return False, f"the process runs but does not answer; see {kafka.log}"
    silent = [one.number for one in kafka.nodes if one not in answering]
    detail = (
        f"{len(answering)} of {len(kafka.nodes)} nodes answer, not {', '.join(f'node {number}' for number in silent)}; "
        "`sidestream broker start` starts those that have ended"
    )
    return bool(answering), detail


def _status_of(entry: BrokerEntry) -> BrokerStatus:
    kafka = None if entry.kind == "embedded" else local.find(BrokerSettings(data_dir=Path(entry.data_dir)))
    if kafka is not None and kafka.bootstrap == entry.bootstrap:
        is_up, detail = _health(kafka)  # of several nodes, some may have ended
    else:
        addresses = (address.rpartition(":") for address in entry.bootstrap.split(","))
        is_up = any(probe.is_answering(host, int(port)) for host, _, port in addresses)
        detail = "it runs inside another process and ends with it" if entry.kind == "embedded" else ""
    if not is_up and not detail:
        detail = f"the process runs but does not answer; see {entry.log or f'process {entry.pid}'}"
    return BrokerStatus(
        entry.kind,
        is_up,
        entry.bootstrap,
        entry.pid,
        entry.log,
        entry.data_dir,
        detail,
        entry.name,
        entry.started_at,
    )
