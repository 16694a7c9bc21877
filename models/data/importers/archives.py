"""Files of a folder or an archive (zip, or tar with any compression), or a single file, read one after the other."""

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from sidestream.models.data.importers.lines import STDIN, Source, source_of
from sidestream.models.errors import DataError

_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Member:
    """One file.

    Attributes:
        path: Path in the folder or archive, with slashes.
        source: How to open it; for a tar archive, it must be read before the next member.
    """

    path: PurePosixPath
    source: Source


def members(path: Path | str, wanted: Callable[[PurePosixPath], bool]) -> Iterator[Member]:
    """Yield the selected files of a folder or archive; a single file is always selected.

    Args:
        path: Folder, zip or tar archive, or a file; `-` for standard input, which is a single file.
        wanted: Whether to read a file, by its path.

    Yields:
        Files; those of folders and zips in order of their paths, those of tars in archive order.

    Raises:
        DataError: The path cannot be read, or an archive is damaged.
    """
    if str(path) == STDIN:
        yield Member(PurePosixPath("stdin"), source_of(path))
        return
    place = Path(path)
    try:
        if place.is_dir():
            yield from _of_folder(place, wanted)
        elif _starts_with(place, _ZIP):
            yield from _of_zip(place, wanted)
        elif tarfile.is_tarfile(place):
            yield from _of_tar(place, wanted)
        else:
            yield Member(PurePosixPath(place.name), source_of(place))
    except (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError) as error:
        msg = f"{place}: expected a readable archive, got {error}; fetch it again"
        raise DataError(msg) from error
    except OSError as error:
        msg = f"{error.filename or place}: expected a readable file or folder, got {error.strerror or error}"
        msg += "; check the path"
        raise DataError(msg) from error


def _of_folder(folder: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[Member]:
    for file in sorted(folder.rglob("*")):
        inner = PurePosixPath(file.relative_to(folder).as_posix())
        if file.is_file() and wanted(inner):
            yield Member(inner, source_of(file))


def _of_zip(path: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            inner = PurePosixPath(info.filename)
            # macOS adds such a metadata file for every file of an archive.
            if info.is_dir() or "__MACOSX" in inner.parts or not wanted(inner):
                continue
            opener = cast(Callable[[], AbstractContextManager[BinaryIO]], partial(archive.open, info))
            yield Member(inner, Source(f"{path}/{inner}", opener))


def _of_tar(path: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[Member]:
    # As a stream: a compressed archive is not seekable.
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            inner = PurePosixPath(info.name)
            if not info.isfile() or not wanted(inner):
                continue
            opened = archive.extractfile(info)
            if opened is not None:
                yield Member(inner, Source(f"{path}/{inner}", _as_context(opened)))


def _as_context(stream: IO[bytes]) -> Callable[[], AbstractContextManager[BinaryIO]]:
    return lambda: nullcontext(cast(BinaryIO, stream))


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
