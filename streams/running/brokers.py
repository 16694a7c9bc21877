"""The local brokers that run on this machine, by name."""

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
        name: Its name, also that of its file.
        kind: Apache Kafka, or the embedded broker inside another process.
        bootstrap: Address for clients.
        pid: Its process; of an embedded broker, the one that it lives in.
        birth: When that process began.
        host: The machine.
        data_dir: Its data folder.
        folder: The working folder of who started it.
        log: Its log file, if it has one.
        started_at: When it was started, UTC epoch ms.
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
        """Name of its file."""
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
    """Describe a broker that runs now on this machine, started from this folder.

    Args:
        name: Its name.
        kind: Apache Kafka or embedded.
        bootstrap: Address for clients.
        pid: Its process.
        data_dir: Its data folder.
        started_at: UTC epoch ms.
        log: Its log file.

    Returns:
        The entry; written nowhere yet.
    """
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
    """Name a broker after the project whose data folder it has: `/home/me/radio/var/kafka` is `radio`.

    Args:
        data_dir: Absolute data folder of the broker.

    Returns:
        A name that can be typed and can be a file's.
    """
    parts = list(data_dir.parts[1:])
    while len(parts) > 1 and parts[-1] in ("kafka", "var"):
        parts.pop()
    return usable_name(parts[-1] if parts else "")


def usable_name(text: str) -> str:
    """Turn any text into a name of a broker: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:MAX_NAME] or "local"


def free_name(wanted: str, data_dir: Path, running: list[BrokerEntry]) -> str:
    """Find a name that no broker of another folder has.

    Args:
        wanted: What it should be called.
        data_dir: Its data folder.
        running: All that run.

    Returns:
        The name, or the name with the first free number: `demo-2`.
    """
    taken = {entry.name for entry in running if entry.data_dir != str(data_dir)}
    number, name = 1, wanted
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name
