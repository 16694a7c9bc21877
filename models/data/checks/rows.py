"""Check of all rows of a log folder: damaged rows, ids that repeat, dangling references, and counts."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sidestream.models.data.checks.heldout import HeldOutCheck
from sidestream.models.data.checks.repeats import Keys, repeats
from sidestream.models.data.log_folder import TOPIC_FILES
from sidestream.models.data.manifest import Counts, Manifest
from sidestream.models.data.progress import Progress, counted, ignore_progress
from sidestream.models.data.rows import (
    CatalogEvent,
    HeldOutRow,
    ListenRow,
    RowError,
    TopicName,
    decode_catalog,
    decode_heldout,
    decode_listen,
    decode_row,
    decode_session,
    foreign_cause,
    refusal,
)
from sidestream.models.records import SessionStart

MAX_NAMED = 100

AnyRow = CatalogEvent | ListenRow | SessionStart | HeldOutRow
_DECODERS: dict[TopicName, Callable[[bytes], AnyRow]] = {
    "catalog": decode_catalog,
    "listens": decode_listen,
    "sessions": decode_session,
    "heldout": decode_heldout,
}
_UNIQUE: dict[TopicName, str] = {
    "listens": "an event_id that is unique for its user",
    "sessions": "user_id, session_id and page that identify one session-start",
}


@dataclass(slots=True)
class FileFound:
    """One file as it is on disk.

    Attributes:
        name: Path inside the folder.
        rows: Lines.
        bytes: Size.
        sha256: Hash.
        first_at: `at` of the first row; None without rows.
        last_at: `at` of the last row.
    """

    name: str
    rows: int = 0
    bytes: int = 0
    sha256: str = ""
    first_at: int | None = None
    last_at: int | None = None


@dataclass(slots=True)
class FolderCheck:
    """Result of a check.

    Attributes:
        path: The folder.
        manifest: The manifest; None if it cannot be read.
        files: The existing row files.
        counts: Counts of the rows.
        problems: The first `MAX_NAMED` problems, each as `file:line: what`.
        num_problems: Number of all problems.
    """

    path: Path
    manifest: Manifest | None = None
    files: list[FileFound] = field(default_factory=list)
    counts: Counts = field(default_factory=lambda: Counts.model_validate(dict.fromkeys(Counts.model_fields, 0)))
    problems: list[str] = field(default_factory=list)
    num_problems: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether there are no problems."""
        return self.num_problems == 0

    def report(self, name: str, line: int | None, what: str) -> None:
        """Record a problem.

        Args:
            name: Path inside the folder.
            line: Line number; None for the whole file.
            what: What was expected, and what was found.
        """
        self.num_problems += 1
        if len(self.problems) < MAX_NAMED:
            where = name if line is None else f"{name}:{line}"
            self.problems.append(f"{self.path / where}: {what}")


class RowScan:
    """Reads all row files once, in the order of their references.

    Args:
        check: Takes problems, files and counts.
        on_progress: Called with the progress.
    """

    def __init__(self, check: FolderCheck, on_progress: Progress = ignore_progress) -> None:
        self._check = check
        self._on_progress = on_progress
        self._items: set[str] = set()
        self._published: set[str] = set()
        self._listeners: set[str] = set()
        self._removals = 0
        self._keys: dict[TopicName, Keys] = {"listens": Keys(), "sessions": Keys()}
        self.heldout = HeldOutCheck(check.report)

    def read(self) -> None:
        """Check every row."""
        for topic in ("catalog", "heldout", "listens", "sessions"):
            self._file(topic)
        self.heldout.finish()
        for topic, keys in self._keys.items():
            self._report_repeats(topic, keys.repeated())
        rows = {file.name: file.rows for file in self._check.files}
        if rows.get(TOPIC_FILES["catalog"]) == 0:
            self._check.report(TOPIC_FILES["catalog"], None, "expected one item or more, got an empty file")
        self._check.counts = Counts(
            items=len(self._published),
            removals=self._removals,
            listens=rows.get(TOPIC_FILES["listens"], 0),
            sessions=rows.get(TOPIC_FILES["sessions"], 0),
            listeners=len(self._listeners),
            heldout_test=self.heldout.num("test"),
            heldout_valid=self.heldout.num("valid"),
        )

    def _file(self, topic: TopicName) -> None:
        name = TOPIC_FILES[topic]
        found = FileFound(name)
        rows = self._decoded(topic, found)
        for line, row in counted(rows, f"check {name}", self._num_rows(name), self._on_progress):
            if isinstance(row, CatalogEvent):
                self._catalog(name, line, row)
            elif isinstance(row, HeldOutRow):
                self._require_item(name, line, row.item_id)
                self._listeners.add(row.user_id)
                self.heldout.heldout(line, row)
            elif isinstance(row, ListenRow):
                self._require_item(name, line, row.item_id)
                self._listeners.add(row.user_id)
                self._keys["listens"].add(_key(row))
                self.heldout.listen(line, row)
            else:
                self._listeners.add(row.user_id)
                self._keys["sessions"].add(_key(row))
                self.heldout.session(row)

    def _num_rows(self, name: str) -> int:
        entry = None if self._check.manifest is None else self._check.manifest.files.get(name)
        return 0 if entry is None else entry.lines

    def _decoded(self, topic: TopicName, found: FileFound) -> Iterator[tuple[int, AnyRow]]:
        digest = hashlib.sha256()
        try:
            stream = (self._check.path / found.name).open("rb")
        except OSError as error:
            self._check.report(found.name, None, f"expected a file of rows (it may be empty), got {error.strerror}")
            self._report_alike(found.name)
            return
        has_carriage_returns = False
        with stream:
            for raw in stream:
                digest.update(raw)
                found.rows += 1
                found.bytes += len(raw)
                if not has_carriage_returns and raw.endswith(b"\r\n"):
                    has_carriage_returns = True
                    self._check.report(found.name, found.rows, "expected LF line ends, got CR LF; convert the file")
                row = self._decode(topic, found.name, found.rows, raw)
                if row is None:
                    continue
                if found.last_at is not None and row.at < found.last_at:
                    what = f"expected `at` >= {found.last_at} as in a line before, got {row.at}; sort the rows by `at`"
                    self._check.report(found.name, found.rows, what)
                found.first_at = row.at if found.first_at is None else min(row.at, found.first_at)
                found.last_at = row.at if found.last_at is None else max(row.at, found.last_at)
                yield found.rows, row
        found.sha256 = digest.hexdigest()
        self._check.files.append(found)
        if not found.rows:
            self._report_alike(found.name)

    def _report_alike(self, name: str) -> None:
        for other in files_alike(self._check.path, name):
            what = f"expected the rows in {name}, got another file of this name; decompress or rename it"
            self._check.report(other, None, what)

    def _decode(self, topic: TopicName, name: str, line: int, raw: bytes) -> AnyRow | None:
        if not raw.endswith(b"\n") and foreign_cause(raw) is None:
            self._check.report(name, line, "expected a line end behind the last row, got the end of the file")
        try:
            return decode_row(_DECODERS[topic], raw)[0]
        except RowError as error:
            self._check.report(name, line, refusal(name, raw, error))
            return None

    def _catalog(self, name: str, line: int, row: CatalogEvent) -> None:
        if row.item is not None:
            self._items.add(row.item_id)
            self._published.add(row.item_id)
            return
        self._removals += 1
        if row.item_id not in self._items:
            self._check.report(name, line, f"expected an item to remove, got {row.item_id!r}, which is not there")
        self._items.discard(row.item_id)

    def _report_repeats(self, topic: TopicName, hashes: frozenset[int]) -> None:
        if not hashes:
            return
        name = TOPIC_FILES[topic]
        for line, key, first in repeats(self._keys_again(topic), hashes):
            parts = ", ".join(map(repr, key))
            self._check.report(name, line, f"expected {_UNIQUE[topic]}, got {parts} again (the first is line {first})")

    def _keys_again(self, topic: TopicName) -> Iterator[tuple[int, tuple[object, ...]]]:
        with (self._check.path / TOPIC_FILES[topic]).open("rb") as stream:
            for line, raw in enumerate(stream, start=1):
                try:
                    row, _ = decode_row(_DECODERS[topic], raw)
                except RowError:
                    continue
                yield line, _key(row)

    def _require_item(self, name: str, line: int, item_id: str) -> None:
        if item_id not in self._published:
            self._check.report(name, line, f"expected an item of {TOPIC_FILES['catalog']}, got {item_id!r}")


def files_alike(folder: Path, name: str) -> list[str]:
    """Find files that are named like a row file, and that nothing reads: compressed, misplaced, with another ending.

    Args:
        folder: Log folder.
        name: Path of the row file inside the folder.

    Returns:
        Their paths inside the folder.
    """
    stem = name.rpartition("/")[2].partition(".")[0]
    inside = sorted(path for place in (folder, folder / "events") for path in place.glob("*"))
    found = [path.relative_to(folder).as_posix() for path in inside if path.is_file()]
    return [other for other in found if other != name and other.rpartition("/")[2].lower().partition(".")[0] == stem]


def _key(row: AnyRow) -> tuple[object, ...]:
    if isinstance(row, SessionStart):
        return row.user_id, row.session_id, row.page
    return (row.user_id, row.event_id) if isinstance(row, ListenRow) else (row.item_id,)
