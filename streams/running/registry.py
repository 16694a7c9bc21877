"""Registry of running processes: one JSON file each, below `$XDG_STATE_HOME/sidestream` (`~/.local/state/sidestream`).

Who starts something writes its entry and removes it at the end. An entry whose process has ended, killed perhaps, is
removed by whoever reads it next. Entries of another machine with the same home folder are left alone and not shown.
"""

import contextlib
import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from sidestream.streams.running.births import birth


class Entry(Protocol):
    """What an entry is recognised by; entries are data classes of plain values."""

    @property
    def key(self) -> str:
        """Name of the entry's file."""
        ...

    @property
    def pid(self) -> int:
        """The process that the entry stands and falls with."""
        ...

    @property
    def birth(self) -> str:
        """When that process began, as `births.birth` tells."""
        ...

    @property
    def host(self) -> str:
        """The machine of the process."""
        ...


AnEntry = TypeVar("AnEntry", bound=Entry)


def state_folder(env: Mapping[str, str] | None = None) -> Path:
    """Say where the registry lies.

    Args:
        env: Environment; by default that of the process.

    Returns:
        The folder; it may not exist yet.
    """
    given = Path((os.environ if env is None else env).get("XDG_STATE_HOME", ""))
    # The XDG specification has relative paths ignored.
    base = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return base / "sidestream"


class Registry(Generic[AnEntry]):
    """The entries of one kind.

    Args:
        kind: Class of the entries.
        folder: Where their files lie.
    """

    def __init__(self, kind: type[AnEntry], folder: Path) -> None:
        self._kind = kind
        self.folder = folder

    def running(self) -> list[AnEntry]:
        """Read the entries of processes that run, sorted by their keys; others of this machine are removed."""
        found = []
        for file in sorted(self.folder.glob("*.json")):
            entry = self._read(file)
            if entry is None or entry.host != platform.node():
                continue
            if birth(entry.pid) == entry.birth:
                found.append(entry)
            else:
                # A registry that cannot be written is no reason to show what does not run.
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)
        return found

    def put(self, entry: AnEntry) -> None:
        """Write an entry, in place of one with the same key.

        Args:
            entry: The entry.

        Raises:
            OSError: The folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(entry.key)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        partial.write_text(json.dumps(dataclasses.asdict(entry), indent=1))  # type: ignore[call-overload]
        partial.replace(file)

    def remove(self, entry: AnEntry) -> None:
        """Remove an entry, unless another process has taken its key by now.

        Args:
            entry: The entry.
        """
        file = self._file(entry.key)
        now = self._read(file)
        if now is not None and (now.pid, now.birth) == (entry.pid, entry.birth):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _read(self, file: Path) -> AnEntry | None:
        names = {field.name for field in dataclasses.fields(self._kind)}  # type: ignore[arg-type]
        try:
            values = json.loads(file.read_text())
            # A newer release may tell more.
            return self._kind(**{name: value for name, value in values.items() if name in names})
        except (OSError, ValueError, TypeError, AttributeError):
            return None
