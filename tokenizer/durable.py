"""Durable files: atomic replacement, fsync of files and folders, and errors of a disk that name the place."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OF_DISKS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS))


def name_place(error: BaseException | None, place: Path) -> None:
    """Add a path to the error of a full or broken disk: unlike those of opening, errors of writing name no file."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _OF_DISKS:
        error.filename = str(place)


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Add a path to errors of a full or broken disk inside the block."""
    try:
        yield
    except OSError as error:
        name_place(error, place)
        raise


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file's content atomically: it has either the old content or all of the new.

    Args:
        path: File; its folder must exist.
        content: New content.
        durable: Whether to force it to disk. Without it, a killed process loses nothing but a power failure may.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with naming(path):
        with partial.open("wb") as stream:
            stream.write(content)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        partial.replace(path)
        if durable:
            force_to_disk(path.parent)


def force_to_disk(path: Path) -> None:
    """Force the content of a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems do not support fsync on a folder.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def force_tree_to_disk(folder: Path) -> None:
    """Force a folder and everything below it to disk."""
    for at, _, names in os.walk(folder, topdown=False):
        for name in names:
            force_to_disk(Path(at, name))
        force_to_disk(Path(at))
