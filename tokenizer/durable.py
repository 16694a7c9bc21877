"""Files that outlast a power cut: forced to disk, and replaced in one step."""

import errno
import os
from pathlib import Path


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that it holds either its old content or all of the new.

    Args:
        path: File; its folder must exist.
        content: New content.
        durable: Force it to disk. Without it a killed process still loses nothing, a power cut may.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as stream:
        stream.write(content)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    partial.replace(path)
    if durable:
        force_to_disk(path.parent)


def force_to_disk(path: Path) -> None:
    """Force the content of a file, or the names in a folder, to disk.

    Args:
        path: File or folder.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot force a folder to disk.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def force_tree_to_disk(folder: Path) -> None:
    """Force a folder and all below it to disk.

    Args:
        folder: The folder.

    Raises:
        OSError: The disk refuses.
    """
    for at, _, names in os.walk(folder, topdown=False):
        for name in names:
            force_to_disk(Path(at, name))
        force_to_disk(Path(at))
