"""Publishing of folders: complete, forced to disk, and in place in one step.

A folder is written as a *draft*: a hidden folder next to its place, `.NAME.<8 hex digits>.writing`. Publishing forces
every file of the draft to disk, then renames it to `NAME`, then forces the parent folder to disk.

* A folder that is already there is swapped with the draft in one system call, so that the place always holds the old
  version or the new one. Where the file system cannot swap, the old version is first renamed to `.NAME.old`. A process
  killed just then leaves the place empty; the next writer or reader of the place (`recover_folder`) renames it back.
* Each draft is locked while its writer lives. The next writer of the same place removes the drafts that no process
  locks: what killed writers left, and old versions that were swapped out but not yet removed.
* Writers of one place do not disturb each other: each has its own draft, names change only under a lock on the parent
  folder, and the last to publish stays.

Locks are advisory (`flock`) and end with the process. A file system without them (some network ones) publishes as
safely, but drafts of killed writers stay there until somebody removes them.

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

from sidestream.tokenizer.durable import force_to_disk, force_tree_to_disk
from sidestream.tokenizer.errors import ArtifactError

# Raises to refuse what lies at a place; called only where something does.
Check = Callable[[Path], None]

_DRAFT_SUFFIX = ".writing"
_OLD_SUFFIX = ".old"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def refuse_any(place: Path) -> None:
    """Refuse to replace whatever lies at a place: the default check.

    Args:
        place: Where something lies.

    Raises:
        ArtifactError: Always.
    """
    msg = f"{place}: expected a free place, got something that lies there; give an empty or a new folder"
    raise ArtifactError(msg)


class FolderDraft:
    """A folder that is being written; it appears at its place when it is published, and else leaves nothing.

    As a context manager it discards what was not published.

    Args:
        place: Where the folder shall be; missing parents are made, a link is followed.
        check: Called with the place if something other than an empty folder lies there, now and again just before it
            is replaced; raises to refuse.

    Attributes:
        path: The draft: write the files here.

    Raises:
        OSError: The disk refuses.
    """

    def __init__(self, place: Path, check: Check = refuse_any) -> None:
        self._place = Path(os.path.realpath(place))
        self._check = check
        parent = self._place.parent
        made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        parent.mkdir(parents=True, exist_ok=True)
        # A new folder is on disk when the one that holds it is.
        self._changed = [parent, *(folder.parent for folder in made)]
        with _locked(parent):
            _recover(self._place)
            self._require_replaceable()
            _remove_leftovers(self._place)
            self.path = _hidden(self._place)
            self.path.mkdir()
            self._lock: int | None = _open(self.path)
            _lock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def publish(self) -> None:
        """Force the draft to disk and put it in its place.

        Raises:
            OSError: The disk refuses; the place is as it was.
        """
        force_tree_to_disk(self.path)
        with _locked(self._place.parent):
            _recover(self._place)
            self._require_replaceable()
            _put(self.path, self._place)
            for folder in self._changed:
                force_to_disk(folder)
        self.discard()

    def discard(self) -> None:
        """Remove the draft; after `publish` that is the version which was replaced."""
        if self._lock is None:
            return
        try:
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            os.close(self._lock)
            self._lock = None

    def _require_replaceable(self) -> None:
        if not _is_free(self._place):
            self._check(self._place)


@contextmanager
def publish_folder(place: Path, check: Check = refuse_any) -> Iterator[Path]:
    """Write a folder that appears at its place complete, or not at all.

    Args:
        place: Where the folder shall be; see `FolderDraft`.
        check: Raises to refuse to replace what lies there; by default anything but an empty folder is refused.

    Yields:
        The draft: write the files here. It is published at the end of the block, and removed if that raises.

    Example:
        >>> with publish_folder(Path("pair/tokenizer")) as draft:
        ...     (draft / "config.json").write_text("{}")
    """
    with FolderDraft(place, check) as draft:
        yield draft.path
        draft.publish()


def recover_folder(place: Path) -> None:
    """Undo a replacement in which a process was killed; call it before a folder counts as missing.

    Args:
        place: Where the folder should be; it is renamed back only where the place is empty.

    Raises:
        ArtifactError: The old version is there, but the disk refuses to rename it.
    """
    place = Path(os.path.realpath(place))
    if os.path.lexists(place) or not _aside(place).is_dir():
        return
    try:
        with _locked(place.parent):
            _recover(place)
    except OSError as error:
        msg = (
            f"{place} is missing: a process was killed while replacing it, and renaming the old version back failed "
            f"({error.strerror}); rename {_aside(place)} to {place}"
        )
        raise ArtifactError(msg) from error


def recover_folders(parent: Path) -> None:
    """Undo every replacement in a folder in which a process was killed.

    Args:
        parent: Holds nothing but published folders, such as a pair's.

    Raises:
        ArtifactError: As `recover_folder`.
    """
    for aside in sorted(parent.glob(f".?*{_OLD_SUFFIX}")):
        recover_folder(parent / aside.name[1 : -len(_OLD_SUFFIX)])


def remove_leftovers(parent: Path) -> None:
    """Remove what killed writers left in a folder, whatever the names of their places.

    Args:
        parent: Holds nothing but published folders.
    """
    with _locked(parent):
        for draft in parent.glob(f".?*{_DRAFT_SUFFIX}"):
            _remove_if_abandoned(draft)


def _is_free(place: Path) -> bool:
    """Whether nothing but an empty folder lies there, which a rename replaces."""
    return not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir()))


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}{_OLD_SUFFIX}")


def _hidden(place: Path) -> Path:
    return place.with_name(f".{place.name}.{secrets.token_hex(4)}{_DRAFT_SUFFIX}")


def _put(draft: Path, place: Path) -> None:
    """Rename the draft to its place; the version that was there, if any, has the draft's name afterwards."""
    if _is_free(place):
        draft.rename(place)
        return
    if _exchange(draft, place):
        return
    aside = _aside(place)
    place.rename(aside)
    try:
        force_to_disk(place.parent)
        draft.rename(place)
    except OSError:
        aside.rename(place)
        raise
    # Under the old name a half-removed folder could be renamed back some day.
    aside.rename(draft)


def _exchange(draft: Path, place: Path) -> bool:
    """Swap two folders in one step; False where the system or the file system cannot."""
    call = _renameat2()
    return call is not None and not call(_AT_FDCWD, os.fsencode(draft), _AT_FDCWD, os.fsencode(place), _RENAME_EXCHANGE)


@cache
def _renameat2() -> Callable[..., Any] | None:
    call: Any = getattr(ctypes.CDLL(None), "renameat2", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call  # type: ignore[no-any-return]


def _recover(place: Path) -> None:
    aside = _aside(place)
    if not aside.is_dir():
        return
    if os.path.lexists(place):
        draft = _hidden(place)
        aside.rename(draft)
        shutil.rmtree(draft, ignore_errors=True)
    else:
        aside.rename(place)
        force_to_disk(place.parent)


def _remove_leftovers(place: Path) -> None:
    start = f".{place.name}."
    for draft in place.parent.iterdir():
        if draft.name.startswith(start) and draft.name.endswith(_DRAFT_SUFFIX):
            _remove_if_abandoned(draft)


def _remove_if_abandoned(draft: Path) -> None:
    try:
        descriptor = _open(draft)
    except OSError:  # removed meanwhile by its writer, or no folder
        return
    try:
        if _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(draft, ignore_errors=True)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock under which names in a folder change."""
    descriptor = _open(folder)
    try:
        _lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, operation: int) -> bool:
    """Lock an open folder; False where another has it or the file system knows no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        return False
    return True


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
