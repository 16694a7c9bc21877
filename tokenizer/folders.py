"""Atomic publishing of folders: complete, forced to disk, and visible in one step.

A folder is written as a *draft*: a hidden folder next to the destination, `.NAME.<8 hex digits>.writing`. Publishing
forces every file of the draft to disk, then renames it to `NAME`, then forces the parent folder to disk.

* An existing folder is exchanged with the draft in one system call, so that the destination is always the old version
  or the new one. If the file system cannot exchange, the old version is first renamed to `.NAME.old`. A process killed
  at that moment leaves the destination missing; the next writer or reader (`recover_folder`) renames it back. Whoever
  opens a published folder, or makes one at its destination, therefore calls `recover_folder`, `require_place` or
  `make_inside` first.
* Each draft is locked while its writer is alive. The next writer of the same destination removes drafts that no process
  has locked: leftovers of killed writers, and replaced versions that were not yet removed.
* Writers of one destination do not interfere: each has its own draft, renames happen only under a lock on the parent
  folder, and the last to publish wins.

Locks are advisory (`flock`) and end with the process. Publishing is equally safe on a file system without locks (some
network ones), but drafts of killed writers stay there until they are removed by hand.

Source: Linux manual pages rename(2) (`RENAME_EXCHANGE`), flock(2) and fsync(2).
"""

import ctypes
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sidestream.tokenizer.durable import force_to_disk, force_tree_to_disk, name_place
from sidestream.tokenizer.errors import ArtifactError

# Called with a destination that is not free; raises to refuse replacing it.
Check = Callable[[Path], None]

_DRAFT_SUFFIX = ".writing"
_OLD_SUFFIX = ".old"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def refuse_any(place: Path) -> None:
    """Refuse to replace anything: the default check, which always raises `ArtifactError`."""
    msg = f"{place}: expected a missing or an empty folder, got existing content; give an empty or a new folder"
    raise ArtifactError(msg)


def require_place(place: Path, check: Check = refuse_any) -> None:
    """Check that a folder can be published at a destination; call it before long work whose result goes there.

    Args:
        place: Destination; see `FolderDraft`.
        check: As for `FolderDraft`.

    Raises:
        ArtifactError: The destination is a mount point, or no draft can be written next to it.
    """
    recover_folder(place)
    place = Path(os.path.realpath(place))
    # A mount point can be neither renamed nor exchanged.
    if os.path.ismount(place):
        msg = f"{place}: expected a folder that can be replaced as a whole, got a mount point; name a folder inside it"
        raise ArtifactError(msg)
    parent = next(folder for folder in place.parents if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        msg = (
            f"{place}: expected a writable parent folder, as it is written next to its destination and then renamed, "
            f"got no permission to write in {parent}; grant it, or name another folder"
        )
        raise ArtifactError(msg)
    _require_replaceable(place, check)


class FolderDraft:
    """A folder under construction; it appears at its destination when published, and otherwise leaves nothing.

    As a context manager it discards the draft unless it was published.

    Args:
        place: Destination; missing parents are created, a link is followed.
        check: Called with the destination if anything other than an empty folder is there, immediately and again just
            before it is replaced; raises to refuse.

    Attributes:
        path: The draft: write the files here.

    Raises:
        ArtifactError: The destination is a mount point, or no draft can be written next to it.
        OSError: The draft cannot be created.
    """

    def __init__(self, place: Path, check: Check = refuse_any) -> None:
        require_place(place, check)
        self._place = Path(os.path.realpath(place))
        self._check = check
        parent = self._place.parent
        made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        parent.mkdir(parents=True, exist_ok=True)
        # A new folder is durable only once its parent is forced to disk.
        self._changed = [parent, *(folder.parent for folder in made)]
        with _locked(parent):
            self._make_replaceable()
            _remove_leftovers(self._place)
            self.path = _new_draft_path(self._place)
            self.path.mkdir()
            self._lock: int | None = _open(self.path)
            _lock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard(error)

    def publish(self) -> None:
        """Force the draft to disk and move it to its destination.

        Raises:
            OSError: Writing or renaming failed; the destination is unchanged.
        """
        force_tree_to_disk(self.path)
        with _locked(self._place.parent):
            self._make_replaceable()
            _move_into_place(self.path, self._place)
            for folder in self._changed:
                force_to_disk(folder)
        self.discard()

    def discard(self, error: BaseException | None = None) -> None:
        """Remove the draft; after `publish` that is the replaced version.

        Args:
            error: What ended the writing; an error of the disk is given the name of the destination.
        """
        name_place(error, self._place)
        if self._lock is None:
            return
        try:
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            os.close(self._lock)
            self._lock = None

    def _make_replaceable(self) -> None:
        _recover(self._place)
        _require_replaceable(self._place, self._check)
        # Only now is the folder at the destination known to be one that was published, or a newer one in its place.
        _remove_backup(self._place)


@contextmanager
def publish_folder(place: Path, check: Check = refuse_any) -> Iterator[Path]:
    """Write a folder that appears at its destination complete, or not at all.

    Args:
        place: Destination; see `FolderDraft`.
        check: Raises to refuse replacing the destination; by default anything but an empty folder is refused.

    Yields:
        The draft: write the files here. It is published at the end of the block, and removed if the block raises.

    Example:
        >>> with publish_folder(Path("pair/tokenizer")) as draft:
        ...     (draft / "config.json").write_text("{}")
    """
    with FolderDraft(place, check) as draft:
        yield draft.path
        draft.publish()


def recover_folder(place: Path) -> None:
    """Undo a replacement during which a process was killed; call it before treating a folder as missing.

    Args:
        place: The folder; its old version is renamed back only if the folder is missing or empty.

    Raises:
        ArtifactError: The old version exists but cannot be renamed.
    """
    place = Path(os.path.realpath(place))
    if not _backup_path(place).is_dir() or not _is_free(place):
        return
    try:
        with _locked(place.parent):
            _recover(place)
    except OSError as error:
        msg = (
            f"{place} is missing: a process was killed while replacing it, and renaming the old version back failed "
            f"({error.strerror}); rename {_backup_path(place)} to {place}"
        )
        raise ArtifactError(msg) from error


def make_inside(place: Path, name: str) -> Path:
    """Make a folder inside a destination before anything is published there; `mkdir` alone would pass for published.

    Args:
        place: Destination, recovered first; missing parents are created.
        name: Name of the folder inside, which may exist.

    Returns:
        The folder.
    """
    place = Path(os.path.realpath(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    # Under the lock no other writer is between its two renames.
    with _locked(place.parent):
        _recover(place)
        (place / name).mkdir(parents=True, exist_ok=True)
    return place / name


def recover_folders(parent: Path) -> None:
    """Undo every interrupted replacement in a folder that contains only published folders, such as a pair's."""
    for backup in sorted(parent.glob(f".?*{_OLD_SUFFIX}")):
        recover_folder(parent / backup.name[1 : -len(_OLD_SUFFIX)])


def remove_leftovers(parent: Path) -> None:
    """Remove the drafts of killed writers from a folder that contains only published folders."""
    with _locked(parent):
        for draft in parent.glob(f".?*{_DRAFT_SUFFIX}"):
            _remove_if_abandoned(draft)


def _is_free(place: Path) -> bool:
    """Return whether the path is missing, or an empty folder, which a rename replaces."""
    return not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir()))


def _require_replaceable(place: Path, check: Check) -> None:
    if not _is_free(place):
        check(place)


def _backup_path(place: Path) -> Path:
    return place.with_name(f".{place.name}{_OLD_SUFFIX}")


def _new_draft_path(place: Path) -> Path:
    return place.with_name(f".{place.name}.{secrets.token_hex(4)}{_DRAFT_SUFFIX}")


def _move_into_place(draft: Path, place: Path) -> None:
    """Rename the draft to its destination; a replaced version has the draft's name afterwards."""
    if _is_free(place):
        draft.rename(place)
        return
    if _exchange(draft, place):
        return
    backup = _backup_path(place)
    place.rename(backup)
    try:
        force_to_disk(place.parent)
        draft.rename(place)
    except OSError:
        backup.rename(place)
        raise
    # Under the backup name a half-removed folder could be renamed back later.
    backup.rename(draft)


def _exchange(draft: Path, place: Path) -> bool:
    """Exchange two folders atomically; False if the system or the file system cannot."""
    call = _renameat2()
    return call is not None and not call(_AT_FDCWD, os.fsencode(draft), _AT_FDCWD, os.fsencode(place), _RENAME_EXCHANGE)


@cache
def _renameat2() -> Callable[..., Any] | None:
    call: Any = getattr(ctypes.CDLL(None), "renameat2", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call  # type: ignore[no-any-return]


def _recover(place: Path) -> None:
    backup = _backup_path(place)
    if backup.is_dir() and _is_free(place):
        backup.rename(place)
        force_to_disk(place.parent)


def _remove_backup(place: Path) -> None:
    backup = _backup_path(place)
    if backup.is_dir():
        draft = _new_draft_path(place)
        backup.rename(draft)
        shutil.rmtree(draft, ignore_errors=True)


def _remove_leftovers(place: Path) -> None:
    start = f".{place.name}."
    for draft in place.parent.iterdir():
        if draft.name.startswith(start) and draft.name.endswith(_DRAFT_SUFFIX):
            _remove_if_abandoned(draft)


def _remove_if_abandoned(draft: Path) -> None:
    try:
        descriptor = _open(draft)
    except OSError:  # meanwhile removed by its writer, or not a folder
        return
    try:
        if _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(draft, ignore_errors=True)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock for renames within a folder."""
    descriptor = _open(folder)
    try:
        _lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, operation: int) -> bool:
    """Lock an open folder; False if another process has the lock or the file system has no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        return False
    return True


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
