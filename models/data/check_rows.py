"""Check of all rows of a log folder: damaged rows, dangling references, and counts."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
    decode_session,
    foreign_cause,
)
from sidestream.models.records import SessionStart
from sidestream.models.records.signals import is_positive

MAX_NAMED = 100

AnyRow = CatalogEvent | ListenRow | SessionStart | HeldOutRow
_DECODERS: dict[TopicName, Callable[[bytes], AnyRow]] = {
    "catalog": decode_catalog,
    "listens": decode_listen,
    "sessions": decode_session,
    "heldout": decode_heldout,
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
        # Held-out rows by (user, event), with their line and whether their references were found.
        self._valid: dict[tuple[str, str], int] = {}
        self._test: dict[tuple[str, str], int] = {}
        self._roles: dict[tuple[str, str], int] = {}
        self._sessions_of_tests: dict[tuple[str, str], int] = {}

    def read(self) -> None:
        """Check every row."""
        for topic in ("catalog", "heldout", "listens", "sessions"):
            self._file(topic)
        heldout = TOPIC_FILES["heldout"]
        for (user_id, event_id), line in self._valid.items():
            what = f"a validation row repeats a line of {TOPIC_FILES['listens']}, got none of {user_id!r}, {event_id!r}"
            self._check.report(heldout, line, f"expected that {what}")
        for (user_id, session_id), line in self._sessions_of_tests.items():
            what = f"expected session {session_id!r} of {user_id!r} in {TOPIC_FILES['sessions']}, got none"
            self._check.report(heldout, line, what)
        rows = {file.name: file.rows for file in self._check.files}
        self._check.counts = Counts(
            items=len(self._published),
            removals=self._removals,
            listens=rows.get(TOPIC_FILES["listens"], 0),
            sessions=rows.get(TOPIC_FILES["sessions"], 0),
            listeners=len(self._listeners),
            heldout_test=sum(role == "test" for _, role in self._roles),
            heldout_valid=sum(role == "valid" for _, role in self._roles),
        )

    def _file(self, topic: TopicName) -> None:
        name = TOPIC_FILES[topic]
        found = FileFound(name)
        rows = self._decoded(topic, found)
        for line, row in counted(rows, f"check {name}", self._num_rows(name), self._on_progress):
            if isinstance(row, CatalogEvent):
                self._catalog(name, line, row)
            elif isinstance(row, HeldOutRow):
                self._heldout(name, line, row)
            elif isinstance(row, ListenRow):
                self._listen(name, line, row)
            else:
                self._listeners.add(row.user_id)
                self._sessions_of_tests.pop((row.user_id, row.session_id), None)

    def _num_rows(self, name: str) -> int:
        entry = None if self._check.manifest is None else self._check.manifest.files.get(name)
        return 0 if entry is None else entry.lines

    def _decoded(self, topic: TopicName, found: FileFound) -> Iterator[tuple[int, AnyRow]]:
        digest = hashlib.sha256()
        try:
            stream = (self._check.path / found.name).open("rb")
        except OSError as error:
            self._check.report(found.name, None, f"expected a file of rows (it may be empty), got {error.strerror}")
            return
        with stream:
            for raw in stream:
                digest.update(raw)
                found.rows += 1
                found.bytes += len(raw)
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

    def _decode(self, topic: TopicName, name: str, line: int, raw: bytes) -> AnyRow | None:
        if cause := foreign_cause(raw):
            self._check.report(name, line, f"expected a row of {name}, got {cause}")
            return None
        if not raw.endswith(b"\n"):
            self._check.report(name, line, "expected a line end behind the last row, got the end of the file")
        try:
            return _DECODERS[topic](raw)
        except RowError as error:
            self._check.report(name, line, f"expected a row of {name}, got {error}: {raw[:80]!r}")
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

    def _heldout(self, name: str, line: int, row: HeldOutRow) -> None:
        self._require_item(name, line, row.item_id)
        self._listeners.add(row.user_id)
        if not is_positive(row.signal):
            what = f"expected a positive signal of a held-out listen, got {row.signal}, for which no listener is asked"
            self._check.report(name, line, what)
            return
        before = self._roles.setdefault((row.user_id, row.role), line)
        if before != line:
            what = f"expected one {row.role} row of {row.user_id!r}, got a second one (the first is line {before})"
            self._check.report(name, line, what)
        (self._test if row.role == "test" else self._valid)[row.user_id, row.event_id] = line
        if row.role == "test" and row.session_id is not None:
            self._sessions_of_tests[row.user_id, row.session_id] = line

    def _listen(self, name: str, line: int, row: ListenRow) -> None:
        self._require_item(name, line, row.item_id)
        self._listeners.add(row.user_id)
        key = (row.user_id, row.event_id)
        self._valid.pop(key, None)
        if key in self._test:
            what = f"expected test events in heldout.jsonl alone, got {row.event_id!r} of its line {self._test[key]}"
            self._check.report(name, line, what)

    def _require_item(self, name: str, line: int, item_id: str) -> None:
        if item_id not in self._published:
            self._check.report(name, line, f"expected an item of {TOPIC_FILES['catalog']}, got {item_id!r}")
