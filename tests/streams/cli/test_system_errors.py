"""Errors of the operating system: the path where it is known, and advice that fits the cause."""

import errno
import os
import resource
import subprocess
import sys

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


WRITES = {"log": write_log, "folder": write_folder, "file": write_file, "state": write_state}


def limit_files():
    """Let writes beyond 1,000 bytes fail in this process, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def explain_failure(kind, place):
    """Print how the failure of a write is explained; runs in a process of its own, which prints into a pipe."""
    try:
        WRITES[kind](place)
    except OSError as error:
        print(explain_os_error(error))


@pytest.mark.parametrize("kind", WRITES)
def test_what_cannot_be_written_is_named(request, tmp_path, kind):
    code = f"from {__name__} import explain_failure; from pathlib import Path; explain_failure({kind!r}, Path('place'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(request.config.rootpath)},
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "place" in done.stdout
    assert "limit of file sizes" in done.stdout


@pytest.mark.parametrize("args", [["world", "w"], ["import", "csv", "plays.csv", "w"]], ids=" ".join)
def test_a_command_names_the_folder_that_it_could_not_write(sidestream_process, tmp_path, args):
    rows = "".join(f"u{n % 3},2026-01-05 10:{n:02},a{n % 4},t{n % 4}\n" for n in range(30))
    (tmp_path / "plays.csv").write_text("user,at,artist,title\n" + rows)
    with sidestream_process(*args, preexec_fn=limit_files) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    line = out.strip().splitlines()[-1]
    assert line.startswith((f"error: {tmp_path / 'w'}", "error: w: "))
    assert "File too large" in line
    assert not list(tmp_path.glob("*w*"))
