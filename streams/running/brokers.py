"""Registry entries of the local brokers running on this machine, and their names."""

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sidestream.streams.running.births import birth
from sidestream.streams.running.registry import Registry, state_folder

MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class BrokerEntry:
    """One local broker.

    Attributes:
        name: Name of the broker and of its registry file.
        kind: Apache Kafka, or the embedded broker inside another process.
        bootstrap: Address for clients.
        pid: Process id; for an embedded broker, of the process that runs it.
        birth: Start time of that process, see `births.birth`.
        host: Host name of the machine.
        data_dir: Data folder of the broker.
        folder: Working folder from which it was started.
        log: Log file; None if it has none.
        started_at: Start time, UTC epoch ms.
    """

    name: str
    kind: Literal["kafka", "embedded"]
    bootstrap: str
    pid: int
    birth: str
    host: str
    data_dir: str
    folder: str
    log: str | None
    started_at: int

    @property
    def key(self) -> str:
        """Name of the registry file."""
        return self.name


def broker_registry() -> Registry[BrokerEntry]:
    """Open the registry of local brokers."""
    return Registry(BrokerEntry, state_folder() / "brokers")


def make_entry(
    name: str,
    kind: Literal["kafka", "embedded"],
    bootstrap: str,
    pid: int,
    data_dir: Path,
    started_at: int,
    log: str | None = None,
) -> BrokerEntry:
    """Create the entry of a broker running on this machine and started from the working folder; does not write it."""
    return BrokerEntry(
        name=name,
        kind=kind,
        bootstrap=bootstrap,
        pid=pid,
        birth=birth(pid),
        host=platform.node(),
        data_dir=str(data_dir),
        folder=str(Path.cwd()),
        log=log,
        started_at=started_at,
    )


def name_of_folder(data_dir: Path) -> str:
    """Derive a broker name from its absolute data folder: `/srv/radio/var/kafka` gives `radio`."""
    parts = list(data_dir.parts[1:])
    while len(parts) > 1 and parts[-1] in ("kafka", "var"):
        parts.pop()
    return usable_name(parts[-1] if parts else "")


def usable_name(text: str) -> str:
    """Turn any text into a broker name: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:MAX_NAME] or "local"


def free_name(wanted: str, data_dir: Path, running: list[BrokerEntry]) -> str:
    """Return a name that no running broker of another folder has: `wanted`, or with the first free number, `demo-2`."""
    taken = {entry.name for entry in running if entry.data_dir != str(data_dir)}
    number, name = 1, wanted
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = wanted[: MAX_NAME - len(suffix)] + suffix
    return name
