"""What a recording keeps of the topics until the log folder is made, and how far each partition has been read.

    recording/state.json        range, topic ids, next offset of every partition, segments, records that were refused
    recording/segment-000001    records as they were read, each with its length before it

A segment counts once `state.json` names it: a killed recording loses the segment that it was writing and reads those
records again. Partitions are written in order of offsets, each record once.
"""

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestream.streams.errors import DataError
from sidestream.tokenizer.durable import naming, replace_file
from sidestream.tokenizer.folders import make_inside

FOLDER = "recording"
STATE_FILE = "state.json"
MAX_NAMED = 20
ANEW = "record anew with --overwrite, or into another folder"
_LENGTH = struct.Struct("<I")

Kind = Literal["catalog", "listens", "sessions"]


class Spooled(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One record.

    Attributes:
        kind: What it is.
        partition: Partition.
        offset: Offset.
        at: UTC epoch ms: its own, or of a removal the record's timestamp.
        key: Listener or item.
        value: Value; None removes the item.
    """

    kind: Kind
    partition: int
    offset: int
    at: int
    key: str
    value: bytes | None


class Refused(BaseModel):
    """Records of one topic that are no values of it.

    Attributes:
        reasons: How many for each reason code.
        named: The first of them, with partition, offset and detail.
    """

    model_config = ConfigDict(frozen=True)

    reasons: dict[str, int] = Field(default_factory=dict)
    named: tuple[str, ...] = ()

    def with_one(self, reason: str, what: str) -> "Refused":
        """Add a record.

        Args:
            reason: Reason code.
            what: Place and detail.

        Returns:
            The new sum.
        """
        named = self.named if len(self.named) >= MAX_NAMED else (*self.named, what)
        return Refused(reasons={**self.reasons, reason: self.reasons.get(reason, 0) + 1}, named=named)


class State(BaseModel):
    """What a recording knows apart from its records."""

    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    topics: dict[str, str] = Field(description="Name of each topic by kind.")
    topic_ids: dict[str, str] = Field(
        default_factory=dict, description="By topic, `user-erasures.v1` too; it differs after a topic was recreated."
    )
    from_at: int | None = Field(description="Events from then on, UTC epoch ms.")
    from_text: str | None = Field(default=None, description="`from_at` as it was given, such as 7d.")
    known_at: int | None = Field(
        default=None,
        description="UTC epoch ms at which the last complete run began, or before its end the first: of erasures and "
        "removals up to then nothing is missed. None in a recording of an earlier release.",
    )
    next_offsets: dict[str, dict[int, int]] = Field(default_factory=dict, description="By topic and partition.")
    segments: tuple[str, ...] = ()
    refused: dict[str, Refused] = Field(default_factory=dict, description="By topic.")
    lost: int = Field(default=0, description="Offsets that retention took between two runs.")


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keep other recordings out of a log folder; its `recording/` is made where it is missing.

    Args:
        target: The log folder.

    Raises:
        DataError: One is at work.
    """
    folder = make_inside(target, FOLDER)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The folder that was opened may have been replaced before it was locked.
        is_current = os.path.samestat(os.fstat(descriptor), folder.stat())
    except (BlockingIOError, FileNotFoundError):
        is_current = False
    if not is_current:
        os.close(descriptor)
        msg = f"{folder}: another recording writes there; wait for it, or record into another folder"
        raise DataError(msg)
    try:
        yield
    finally:
        os.close(descriptor)


class Spool:
    """The records of a recording on disk; open it under `locked`.

    Args:
        folder: `recording/` of a log folder.
        state: What is known so far.
    """

    def __init__(self, folder: Path, state: State) -> None:
        self.folder = folder
        self.state = state

    @classmethod
    def open(cls, folder: Path) -> "Spool | None":
        """Open what an earlier run left.

        Args:
            folder: `recording/` of a log folder.

        Returns:
            The spool; None where there is none.

        Raises:
            DataError: Its state cannot be read.
        """
        path = folder / STATE_FILE
        if not path.exists():
            return None
        try:
            return cls(folder, State.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            msg = f"{path}: expected the state of a recording, got damaged content; remove {folder} to start over"
            raise DataError(msg) from error

    def append(self, records: Iterable[Spooled], state: State) -> None:
        """Write a segment, and a state that counts it as read.

        Args:
            records: What was read; nothing writes the state alone.
            state: Next offsets and sums behind these records; its segments are kept up here.
        """
        rows = list(records)
        segments = self.state.segments
        if rows:
            name = f"segment-{len(segments) + 1:06}"
            _write(self.folder / name, rows)
            segments = (*segments, name)
        self.state = state.model_copy(update={"segments": segments})
        replace_file(self.folder / STATE_FILE, self.state.model_dump_json().encode())

    def records(self) -> Iterator[Spooled]:
        """Read everything again, each partition in order of offsets.

        Yields:
            Records.

        Raises:
            DataError: A segment is damaged.
        """
        for name in self.state.segments:
            yield from _read(self.folder / name)


class SpoolWriter:
    """Writes the spool that the next run starts from, a record at a time.

    Args:
        folder: Where it goes.
        segment_records: Records in one segment at most.
    """

    def __init__(self, folder: Path, segment_records: int) -> None:
        self._folder = folder
        self._size = segment_records
        self._waiting: list[Spooled] = []
        self._segments: list[str] = []

    def add(self, record: Spooled) -> None:
        """Take a record."""
        self._waiting.append(record)
        if len(self._waiting) >= self._size:
            self._flush()

    def close(self, state: State) -> None:
        """Write what is left, and the state.

        Args:
            state: Of the recording; its segments become those written here.
        """
        self._flush()
        state = state.model_copy(update={"segments": tuple(self._segments)})
        replace_file(self._folder / STATE_FILE, state.model_dump_json().encode())

    def _flush(self) -> None:
        if self._waiting:
            name = f"segment-{len(self._segments) + 1:06}"
            _write(self._folder / name, self._waiting)
            self._segments.append(name)
            self._waiting = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Spooled).decode


def _write(path: Path, rows: Iterable[Spooled]) -> None:
    with naming(path), path.open("wb") as stream:
        for row in rows:
            content = _encode(row)
            stream.write(_LENGTH.pack(len(content)))
            stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _read(path: Path) -> Iterator[Spooled]:
    try:
        with path.open("rb") as stream:
            while head := stream.read(_LENGTH.size):
                (length,) = cast(tuple[int], _LENGTH.unpack(head))
                yield _decode(stream.read(length))
    except (OSError, struct.error, msgspec.MsgspecError) as error:
        msg = f"{path}: expected records of a recording, got {error}; remove {path.parent} to start over"
        raise DataError(msg) from error
