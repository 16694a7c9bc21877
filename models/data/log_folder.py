"""Reading of log folders: each topic in order, or all topics merged, resumable with a cursor.

    catalog.jsonl           items and removals
    events/listens.jsonl    listens
    events/sessions.jsonl   session-starts
    heldout.jsonl           listens held out by the split (not replayed)
    manifest.json           source, licence, clock, counts, cuts, split, hashes

Rows are topic values with `at`, sorted by it; the total order over topics is (at, catalog < listens < sessions, line).
"""

import hashlib
import heapq
import os
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

from pydantic import ValidationError

from sidestream.models.data.manifest import FORMAT_VERSION, Manifest
from sidestream.models.data.rows import (
    BOM,
    CatalogEvent,
    HeldOutRow,
    ListenRow,
    LogRow,
    RowError,
    TopicName,
    decode_catalog,
    decode_heldout,
    decode_listen,
    decode_row,
    decode_session,
    encode_row,
    foreign_cause,
    refusal,
)
from sidestream.models.errors import DataError
from sidestream.models.records import SessionStart
from sidestream.models.records.faults import fault_of
from sidestream.tokenizer.folders import recover_folder

MANIFEST_FILE = "manifest.json"
HELDOUT_FILE = "heldout.jsonl"
TOPIC_FILES: dict[TopicName, str] = {
    "catalog": "catalog.jsonl",
    "listens": "events/listens.jsonl",
    "sessions": "events/sessions.jsonl",
    "heldout": HELDOUT_FILE,
}
# The position of a topic in this tuple is its rank among rows of equal time.
TOPICS: tuple[TopicName, ...] = ("catalog", "listens", "sessions", "heldout")

Row = TypeVar("Row", CatalogEvent, ListenRow, SessionStart, HeldOutRow)


class Cursor:
    """Position in each file: lines and bytes read by topic.

    Args:
        places: (lines read, bytes read) by topic; topics that are missing start at the beginning.
    """

    def __init__(self, places: Mapping[TopicName, tuple[int, int]] | None = None) -> None:
        self._places: dict[TopicName, tuple[int, int]] = {topic: (0, 0) for topic in TOPICS}
        self._places.update(places or {})

    @classmethod
    def from_json(cls, value: Mapping[str, list[int]]) -> Self:
        """Decode what `to_json` returned; unknown topics are ignored."""
        return cls({topic: (value[topic][0], value[topic][1]) for topic in TOPICS if topic in value})

    def to_json(self) -> dict[str, list[int]]:
        """Return {topic: [lines, bytes]}."""
        return {topic: list(place) for topic, place in self._places.items()}

    def place(self, topic: TopicName) -> tuple[int, int]:
        """Return (lines read, bytes read) of one topic."""
        return self._places[topic]

    def advance(self, row: LogRow) -> None:
        """Count a row of the merged log as read."""
        self._places[row.topic] = (row.line, row.end_byte)

    @property
    def rows(self) -> int:
        """Number of rows read, over all topics."""
        return sum(lines for lines, _ in self._places.values())


class LogFolder:
    """One version of a log folder on disk; opening it reads only the manifest.

    If the folder is recorded, imported or sealed again meanwhile, reading on raises `DataError`: open it again.

    Args:
        path: The folder.

    Raises:
        DataError: There is no readable manifest of a known layout.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        recover_folder(self.path)
        self.manifest, self._version = _read_manifest(self.path / MANIFEST_FILE)

    def catalog(self) -> Iterator[CatalogEvent]:
        """Read items and removals.

        Returns:
            Rows in order of time, read lazily.

        Raises:
            DataError: A line is damaged or out of order; the message names file and line.
        """
        return (row for row, _, _, _ in self._rows(TOPIC_FILES["catalog"], decode_catalog))

    def listens(self) -> Iterator[ListenRow]:
        """Read listens, at over 100,000 per second on one core.

        Returns:
            Rows in order of time, read lazily.

        Raises:
            DataError: A line is damaged or out of order; the message names file and line.
        """
        return (row for row, _, _, _ in self._rows(TOPIC_FILES["listens"], decode_listen))

    def sessions(self) -> Iterator[SessionStart]:
        """Read session-starts.

        Returns:
            Rows in order of time, read lazily.

        Raises:
            DataError: A line is damaged or out of order; the message names file and line.
        """
        return (row for row, _, _, _ in self._rows(TOPIC_FILES["sessions"], decode_session))

    def heldout(self) -> Iterator[HeldOutRow]:
        """Read the held-out listens of the split.

        Returns:
            Rows in order of time, read lazily.

        Raises:
            DataError: A line is damaged or out of order; the message names file and line.
        """
        return (row for row, _, _, _ in self._rows(HELDOUT_FILE, decode_heldout))

    def merged(self, cursor: Cursor | None = None, *, heldout: bool = False) -> Iterator[LogRow]:
        """Read all topics in the log's total order.

        Args:
            cursor: Position to continue from; None starts at the beginning. It is not modified: call `Cursor.advance`
                with each processed row.
            heldout: Also return held-out listens, ranked after the topics.

        Returns:
            Rows, read lazily.

        Raises:
            DataError: A line is damaged or out of order, or the cursor is not at the start of a line.
        """
        start = cursor or Cursor()
        topics = TOPICS if heldout else TOPICS[:-1]
        return heapq.merge(*(self._topic(topic, start.place(topic)) for topic in topics), key=itemgetter(0, 1, 2))

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            DataError: A file is missing, or its size or hash differs.
        """
        for name, entry in self.manifest.files.items():
            digest = hashlib.sha256()
            with self._open(name) as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
            if digest.hexdigest() != entry.sha256:
                msg = (
                    f"{self.path / name}: expected sha256 {entry.sha256[:12]}… of {entry.bytes} bytes, "
                    f"got {digest.hexdigest()[:12]}…; restore the file or make the folder again"
                )
                raise DataError(msg)

    def _topic(self, topic: TopicName, place: tuple[int, int]) -> Iterator[LogRow]:
        rank = TOPICS.index(topic)
        name = TOPIC_FILES[topic]
        if topic == "listens":
            for listen, raw, line, end in self._rows(name, decode_listen, place):
                yield LogRow(listen.at, rank, line, end, topic, listen.user_id, raw, listen)
        elif topic == "sessions":
            for start, raw, line, end in self._rows(name, decode_session, place):
                yield LogRow(start.at, rank, line, end, topic, start.user_id, raw, start)
        elif topic == "heldout":
            for held, _, line, end in self._rows(name, decode_heldout, place):
                value = encode_row(held.listen) if held.role == "test" else None
                yield LogRow(held.at, rank, line, end, topic, held.user_id, value, held)
        else:
            for event, raw, line, end in self._rows(name, decode_catalog, place):
                value = None if event.item is None else raw
                yield LogRow(event.at, rank, line, end, topic, event.item_id, value, event)

    def _rows(
        self, name: str, decode: Callable[[bytes], Row], place: tuple[int, int] = (0, 0)
    ) -> Iterator[tuple[Row, bytes, int, int]]:
        line, end = place
        latest = 0
        with self._open(name) as stream:
            self._seek(stream, name, end)
            for raw in stream:
                line += 1
                end += len(raw)
                # A file cut short by a crash or a full disk ends inside a line.
                if raw[-1:] != b"\n" and foreign_cause(raw) is None:
                    what = f"expected a line end, got the end of the file after {len(raw)} bytes"
                    raise self._damage(name, line, what)
                try:
                    row, value = decode_row(decode, raw)
                except RowError as error:
                    raise self._damage(name, line, refusal(name, raw, error)) from error
                if row.at < latest:
                    what = f"expected `at` >= {latest} as in the line before, got {row.at}"
                    raise self._damage(name, line, what)
                latest = row.at
                yield row, value, line, end

    def _seek(self, stream: BinaryIO, name: str, end: int) -> None:
        if end == 0:
            return
        stream.seek(end - 1)
        if stream.read(1) != b"\n":
            msg = (
                f"{self.path / name}: expected a line to start at byte {end}, got the middle of one or the file's end; "
                "the position belongs to another folder: start from the beginning"
            )
            raise DataError(msg)

    def _open(self, name: str) -> BinaryIO:
        try:
            stream = (self.path / name).open("rb")
            # After opening: a folder that is replaced in between is noticed too.
            if self._version == _version((self.path / MANIFEST_FILE).stat()):
                return stream
            stream.close()
            msg = f"{self.path}: expected the folder that was opened, got another version in its place; open it again"
            raise DataError(msg)
        except OSError as error:
            msg = f"{self.path / name}: expected a readable file, got {error.strerror}; make the folder again"
            raise DataError(msg) from error

    def _damage(self, name: str, line: int, what: str) -> DataError:
        return DataError(f"{self.path / name}:{line}: {what}; restore the file or remove the line")


def _version(stat: os.stat_result) -> tuple[int, ...]:
    """Tell a manifest from one that replaces it: an inode number may be used again, but at another time."""
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def _read_manifest(path: Path) -> tuple[Manifest, tuple[int, ...]]:
    try:
        with path.open("rb") as stream:
            version = _version(os.fstat(stream.fileno()))
            content = stream.read().removeprefix(BOM)
    except OSError as error:
        msg = f"{path}: expected the manifest of a log folder, got {error.strerror}; import or generate one first"
        raise DataError(msg) from error
    try:
        return Manifest.model_validate_json(content), version
    except ValidationError as error:
        msg = f"{path}: expected a manifest of layout {FORMAT_VERSION} ({fault_of(error)}); make the folder again"
        raise DataError(msg) from error
