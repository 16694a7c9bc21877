"""Replacing files and folders in one step, so that a reader or a crash never meets half of one."""

import os
import shutil
from pathlib import Path


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that it holds either its old content or all of the new.

    Args:
        path: File; its folder must exist.
        content: New content.
        durable: Force it to disk first. Without it a killed process still loses nothing, a power cut may.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as stream:
        stream.write(content)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    partial.replace(path)


def replace_folder(path: Path, partial: Path) -> None:
    """Put a finished folder in the place of another.

    Args:
        path: Where it shall be; what lies there is removed afterwards.
        partial: The finished folder, on the same file system.
    """
    if not path.exists():
        partial.rename(path)
        return
    # Two renames: a folder with files in it cannot be replaced in one.
    aside = path.with_name(f"{path.name}.{os.getpid()}.replaced")
    path.rename(aside)
    partial.rename(path)
    shutil.rmtree(aside)
