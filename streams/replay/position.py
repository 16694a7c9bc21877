"""The replay position of a log folder, stored in a small file that is replaced atomically after each batch."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestream.models.data import Cursor, LogFolder
from sidestream.streams.errors import DataError
from sidestream.tokenizer.durable import replace_file


class _StoredPosition(BaseModel):
    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    folder: str = Field(description="Identity of the folder's content.")
    cursor: dict[str, list[int]] = Field(description="[lines, bytes] by topic.")


class PositionFile:
    """The file with a replay position.

    Args:
        path: The file; None stores nothing.
        folder: The folder that is played.
    """

    def __init__(self, path: Path | None, folder: LogFolder) -> None:
        self._path = path
        self._identity = folder.manifest.identity

    def load(self) -> Cursor:
        """Read the position.

        Returns:
            The stored position; the beginning if there is no file.

        Raises:
            DataError: The file is damaged or belongs to another folder.
        """
        if self._path is None or not self._path.exists():
            return Cursor()
        try:
            stored = _StoredPosition.model_validate_json(self._path.read_bytes())
            cursor = Cursor.from_json(stored.cursor)
        except (ValidationError, IndexError) as error:
            msg = f"{self._path}: expected a replay position, got damaged content; remove it to start over"
            raise DataError(msg) from error
        if stored.folder != self._identity:
            msg = (
                f"{self._path}: expected a position in folder {self._identity}, got one in {stored.folder}; "
                "remove it to start over"
            )
            raise DataError(msg)
        return cursor

    def save(self, cursor: Cursor, *, durable: bool) -> None:
        """Store a position whose rows are all acknowledged.

        Args:
            cursor: The position.
            durable: Whether to survive a power failure; a killed process never loses it.
        """
        if self._path is not None:
            stored = _StoredPosition(folder=self._identity, cursor=cursor.to_json())
            replace_file(self._path, stored.model_dump_json().encode() + b"\n", durable=durable)
