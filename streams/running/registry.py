"""Registry of running processes: one JSON file each, below `$XDG_STATE_HOME/sidestream` (`~/.local/state/sidestream`).

A process writes its entry at startup and removes it at shutdown. An entry whose process no longer runs, for example
because it was killed, is removed by the next reader. Entries of another machine with the same home folder are ignored.
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
    """Common fields of all entries, which are data classes of plain values."""

    @property
    def key(self) -> str:
        """Name of the registry file."""
        ...

    @property
    def pid(self) -> int:
        """Id of the process that the entry describes."""
        ...

    @property
    def birth(self) -> str:
        """Start time of that process, as returned by `births.birth`."""
        ...

    @property
    def host(self) -> str:
        """Host name of the machine."""
        ...


AnEntry = TypeVar("AnEntry", bound=Entry)


def state_folder(env: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the registry, which may not exist yet; `env` defaults to the process environment."""
    given = Path((os.environ if env is None else env).get("XDG_STATE_HOME", ""))
    # The XDG specification says to ignore relative paths.
    base = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return base / "sidestream"


class Registry(Generic[AnEntry]):
    """All entries of one kind.

    Args:
        kind: Class of the entries.
        folder: Folder of their files.
    """

    def __init__(self, kind: type[AnEntry], folder: Path) -> None:
        self._kind = kind
        self.folder = folder

    def running(self) -> list[AnEntry]:
        """Read the entries of running processes, sorted by key; removes entries of ended processes of this machine."""
        found = []
        for file in sorted(self.folder.glob("*.json")):
            entry = self._read(file)
            if entry is None or entry.host != platform.node():
                continue
            # An empty birth is that of an ended process, or of one that was never seen.
            if entry.birth and birth(entry.pid) == entry.birth:
                found.append(entry)
            else:
                # Even if the registry is read-only, an ended process is not returned.
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)
        return found

    def put(self, entry: AnEntry) -> None:
        """Write an entry, replacing one with the same key.

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
            # A newer release may write more fields.
            return self._kind(**{name: value for name, value in values.items() if name in names})
        except (OSError, ValueError, TypeError, AttributeError):
            return None
