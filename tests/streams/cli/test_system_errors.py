"""Errors of the operating system: the path where it is known, and advice that fits the cause."""

import errno
import os
import resource

import pytest

from sidestream.models.data import LogFolderWriter
from sidestream.models.data.sorting import ExternalSort
from sidestream.streams.cli.system_errors import explain_os_error
from sidestream.streams.operate.recording.spool import Spool, State
from sidestream.tokenizer.durable import replace_file
from sidestream.tokenizer.folders import publish_folder


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (errno.ENOSPC, "free some space there, or choose another disk"),
        (errno.EDQUOT, "free some space there, or choose another disk"),
        (errno.EROFS, "choose a path that can be written"),
        (errno.EACCES, "check the path and its permissions"),
        (errno.ENOENT, "check the path"),
        (errno.ENOTDIR, "check the path"),
        (errno.EMFILE, "raise the limit of open files (ulimit -n)"),
        (errno.EIO, "check the disk"),
    ],
)
def test_the_advice_fits_the_cause(code, action):
    assert explain_os_error(OSError(code, os.strerror(code), "x/y")) == f"x/y: {os.strerror(code)}; {action}"
    assert explain_os_error(OSError(code, os.strerror(code))) == f"{os.strerror(code)}; {action}"


def test_an_error_without_number_or_with_two_paths_is_told_too():
    assert explain_os_error(OSError("the cause")) == "the cause"
    assert explain_os_error(OSError()) == "OSError"
    both = OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")
    assert explain_os_error(both) == "a and b: Invalid cross-device link"


def write_log(place):
    with LogFolderWriter(place) as writer:
        sort = ExternalSort(writer.scratch, 1)
        for number in range(100):
            sort.add(b"%d" % number, b"x" * 1_000)


def write_folder(place):
    with publish_folder(place) as draft:
        (draft / "file").write_bytes(b"x" * 10_000)


def write_file(place):
    replace_file(place, b"x" * 10_000)


def write_state(place):
    place.mkdir()
    Spool(place, State(topics={}, from_at=None)).append([], State(topics={"x" * 10_000: "y"}, from_at=None))


@pytest.fixture
def small_files():
    """Writes beyond 1,000 bytes fail in this process, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [write_log, write_folder, write_file, write_state])
def test_what_cannot_be_written_is_named(tmp_path, small_files, write):
    with pytest.raises(OSError) as caught:
        write(tmp_path / "place")
    assert str(tmp_path / "place") in explain_os_error(caught.value)
    assert "limit of file sizes" in explain_os_error(caught.value)


@pytest.mark.parametrize("args", [["world", "w"], ["import", "csv", "plays.csv", "w"]], ids=" ".join)
def test_a_command_names_the_folder_that_it_could_not_write(sidestream, tmp_path, args, small_files):
    rows = "".join(f"u{n % 3},2026-01-05 10:{n:02},a{n % 4},t{n % 4}\n" for n in range(30))
    (tmp_path / "plays.csv").write_text("user,at,artist,title\n" + rows)
    line = sidestream(*args, code=1).err.strip().splitlines()[-1]
    assert line.startswith((f"error: {tmp_path / 'w'}", "error: w: "))
    assert "File too large" in line
    assert not list(tmp_path.glob("*w*"))
