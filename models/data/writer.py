"""Writing of log folders: rows are checked for order and hashed, and the folder appears only when complete."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import JsonValue

from sidestream.models.data.log_folder import HELDOUT_FILE, MANIFEST_FILE, TOPIC_FILES
from sidestream.models.data.manifest import Clock, Counts, FileEntry, Manifest, Split
from sidestream.models.data.rows import HeldOutRow, ListenRow, encode_removal, encode_row
from sidestream.models.errors import DataError
from sidestream.models.records import CatalogItem, SessionStart
from sidestream.models.records.signals import is_positive
from sidestream.tokenizer.durable import naming
from sidestream.tokenizer.folders import FolderDraft, require_place

BLOCK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """Fields of `Manifest` that the writer does not count itself."""

    name: str
    source: str
    licence: str
    events_are: str
    clock: Clock
    split: Split
    cuts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


def require_target(path: Path | str, *, overwrite: bool = False) -> None:
    """Check that a log folder can be written, before its source is read.

    Args:
        path: The folder to create.
        overwrite: Whether to replace an existing log folder.

    Raises:
        DataError: `path` exists and may not be replaced.
        ArtifactError: Nothing can be published there.
    """
    require_place(Path(path), partial(_check_place, extra="", overwrite=overwrite))


class LogFolderWriter:
    """Writes a draft of the folder and publishes it in `finish`; without `finish` nothing is left.

    Rows of one file must be in order of `at`; the files may be written in any interleaving.

    Args:
        path: The folder to create.
        overwrite: Whether to replace an existing log folder; anything else at `path` is never replaced.
        extra: Name of a folder inside that is not part of the log. If `path` contains nothing else, it may be replaced;
            the content of the new one is written to `extra_folder`.

    Raises:
        DataError: `path` exists and may not be replaced.
        ArtifactError: Nothing can be published there.
    """

    def __init__(self, path: Path | str, *, overwrite: bool = False, extra: str = "") -> None:
        self.path = Path(path)
        self._extra = extra
        self._draft = FolderDraft(self.path, partial(_check_place, extra=extra, overwrite=overwrite))
        try:
            (self._draft.path / "events").mkdir()
            self._sinks = {name: _Sink(self._draft.path, name) for name in TOPIC_FILES.values()}
        except BaseException:
            self._draft.discard()
            raise
        self._catalog = self._sinks[TOPIC_FILES["catalog"]]
        self._listens = self._sinks[TOPIC_FILES["listens"]]
        self._sessions = self._sinks[TOPIC_FILES["sessions"]]
        self._heldout = self._sinks[HELDOUT_FILE]
        self._items: set[str] = set()
        self._listeners: set[str] = set()
        self._removals = 0
        self._roles = {"test": 0, "valid": 0}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # A full disk refuses the last rows too; nothing may be left all the same.
            with naming(self.path):
                for sink in self._sinks.values():
                    sink.discard()
        finally:
            self._draft.discard(error)

    @property
    def scratch(self) -> Path:
        """A folder for temporary files while rows are created; it is removed with its content."""
        folder = self._draft.path / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def extra_folder(self) -> Path:
        """The folder inside that is no part of the log; it gets its place together with the log."""
        folder = self._draft.path / self._extra
        folder.mkdir(exist_ok=True)
        return folder

    def item(self, item: CatalogItem) -> None:
        """Append an item to the catalogue file."""
        self._items.add(item.item_id)
        self._catalog.append(item.at, item.to_json())

    def removal(self, item_id: str, at: int) -> None:
        """Append the removal of an item to the catalogue file."""
        self._removals += 1
        self._catalog.append(at, encode_removal(item_id, at))

    def listen(self, row: ListenRow) -> None:
        """Append a listen."""
        self._listeners.add(row.user_id)
        self._listens.append(row.at, encode_row(row))

    def session(self, start: SessionStart) -> None:
        """Append a session-start."""
        self._listeners.add(start.user_id)
        self._sessions.append(start.at, start.to_json())

    def heldout(self, row: HeldOutRow) -> None:
        """Append a held-out listen; one with a signal that is not positive is no target, and is not counted."""
        self._roles[row.role] += is_positive(row.signal)
        self._heldout.append(row.at, encode_row(row))

    def finish(self, facts: FolderFacts) -> Manifest:
        """Close the files, write the manifest with these facts and publish the folder."""
        for sink in self._sinks.values():
            sink.close()
        shutil.rmtree(self._draft.path / "scratch", ignore_errors=True)
        times = [at for sink in self._sinks.values() if sink.lines for at in (sink.first_at, sink.last_at)]
        manifest = Manifest(
            name=facts.name,
            source=facts.source,
            licence=facts.licence,
            events_are=facts.events_are,
            clock=facts.clock,
            first_at=min(times, default=None),
            last_at=max(times, default=None),
            cuts=dict(facts.cuts),
            split=facts.split,
            counts=Counts(
                items=len(self._items),
                removals=self._removals,
                listens=self._listens.lines,
                sessions=self._sessions.lines,
                listeners=len(self._listeners),
                heldout_test=self._roles["test"],
                heldout_valid=self._roles["valid"],
            ),
            files={name: sink.entry() for name, sink in self._sinks.items()},
            notes=facts.notes,
            settings=dict(facts.settings),
        )
        (self._draft.path / MANIFEST_FILE).write_bytes(manifest.to_json())
        self._draft.publish()
        return manifest


class _Sink:
    """One file: checks the order of lines, counts and hashes them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.lines = 0
        self.first_at = 0
        self.last_at = 0
        self._bytes = 0
        self._hash = hashlib.sha256()
        self._stream = (folder / name).open("wb")
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def append(self, at: int, line: bytes) -> None:
        if self.lines == 0:
            self.first_at = at
        elif at < self.last_at:
            msg = (
                f"{self.name}:{self.lines + 1}: expected `at` >= {self.last_at} as in the line before, got {at}; "
                "sort the rows before they are written"
            )
            raise DataError(msg)
        self.last_at = at
        self.lines += 1
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._waiting_bytes >= BLOCK_BYTES:
            self._flush()

    def close(self) -> None:
        if not self._stream.closed:
            self._flush()
            self._stream.close()

    def discard(self) -> None:
        self._waiting.clear()
        self._stream.close()

    def entry(self) -> FileEntry:
        return FileEntry(bytes=self._bytes, lines=self.lines, sha256=self._hash.hexdigest())

    def _flush(self) -> None:
        if not self._waiting:
            return
        block = b"\n".join(self._waiting) + b"\n"
        self._waiting.clear()
        self._waiting_bytes = 0
        self._hash.update(block)
        self._bytes += len(block)
        self._stream.write(block)


def _check_place(place: Path, extra: str, *, overwrite: bool) -> None:
    """Refuse to replace anything but a log folder, or a recording that has only just begun."""
    if place.is_dir() and all(inside.name == extra for inside in place.iterdir()):
        return
    if not overwrite:
        msg = f"{place}: expected a new folder, got an existing folder; name another or use --overwrite"
        raise DataError(msg)
    if not (place / MANIFEST_FILE).is_file():
        msg = f"{place}: expected a new folder or a log folder, got an existing folder of another kind; name another"
        raise DataError(msg)
