"""The replay position of a log folder, stored in a small file that is replaced atomically after each batch.

It counts for the topics that the log was played onto: on another cluster, or on topics that were created anew, nothing
of the log is there, and the replay starts over.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestream.models.data import Cursor, LogFolder
from sidestream.streams.errors import DataError
from sidestream.streams.replay.target import Target
from sidestream.tokenizer.durable import replace_file


class _StoredPosition(BaseModel):
    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    folder: str = Field(description="Identity of the folder's content.")
    cursor: dict[str, list[int]] = Field(description="[lines, bytes] by topic.")
    target: Target | None = Field(default=None, description="Where it counts; unknown in files of older releases.")


class PositionFile:
    """The file with a replay position.

    Args:
        path: The file.
        folder: The folder that is played.
        target: Where it is played; None if that cannot differ.
    """

    def __init__(self, path: Path, folder: LogFolder, target: Target | None = None) -> None:
        self._path = path
        self._identity = folder.manifest.identity
        self._target = target

    @property
    def is_elsewhere(self) -> bool:
        """Whether the stored position belongs to another target, and is not used.

        Raises:
            DataError: The file is damaged or belongs to another folder.
        """
        stored = self._read()
        return (
            stored is not None
            and stored.target is not None
            and self._target is not None
            and not stored.target.is_same(self._target)
        )

    def load(self) -> Cursor:
        """Read the position.

        Returns:
            The stored position; the beginning if there is none for this target.

        Raises:
            DataError: The file is damaged or belongs to another folder.
        """
        stored = self._read()
        return Cursor() if stored is None or self.is_elsewhere else Cursor.from_json(stored.cursor)

    def _read(self) -> _StoredPosition | None:
        if not self._path.exists():
            return None
        try:
            stored = _StoredPosition.model_validate_json(self._path.read_bytes())
            Cursor.from_json(stored.cursor)
        except (ValidationError, IndexError) as error:
            msg = f"{self._path}: expected a replay position, got damaged content; remove it to start over"
            raise DataError(msg) from error
        if stored.folder != self._identity:
            msg = (
                f"{self._path}: expected a position in folder {self._identity}, got one in {stored.folder}; "
                "remove it to start over"
            )
            raise DataError(msg)
        return stored

    def save(self, cursor: Cursor, *, durable: bool) -> None:
        """Store a position whose rows are all acknowledged.

        Args:
            cursor: The position.
            durable: Whether to survive a power failure; a killed process never loses it.
        """
        stored = _StoredPosition(folder=self._identity, cursor=cursor.to_json(), target=self._target)
        replace_file(self._path, stored.model_dump_json().encode() + b"\n", durable=durable)
