"""Commands whose standard streams are closed, full, read no longer, or in a small encoding."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from sidestream.models.data import LogFolder
from sidestream.models.data.check import check_folder

PLAYS = "user,at,artist,title\n" + "".join(f"u{n % 3},2026-01-05 10:{n:02},a{n % 4},t{n % 4}\n" for n in range(30))
STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}


@pytest.fixture
def run(sidestream_process, tmp_path):
    """Run a command with streams closed; returns exit code, stdout and stderr."""
    (tmp_path / "plays.csv").write_text(PLAYS)

    def started(*args, closed=(), **change):
        def close():
            for name in closed:
                os.close(STREAMS[name])

        change = {"stderr": subprocess.PIPE, "preexec_fn": close, **change}
        with sidestream_process(*args, **change) as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out or "", err or ""

    return started


IMPORT = ["import", "csv", "plays.csv", "plays"]


@pytest.mark.parametrize(
    ("closed", "args", "code"),
    [
        (["stdout"], ["config", "show"], 0),
        (["stderr"], ["config", "show"], 0),
        (["stdout"], IMPORT, 0),
        (["stderr"], IMPORT, 0),
        (["stdin"], ["import", "csv", "-", "plays"], 1),
        (["stdin"], ["send", "listen", "-", "--bootstrap", "127.0.0.1:1"], 1),
        (["stdout"], ["state", "get", "u", "--set", "web.port=9"], 1),
        (["stdout"], ["tail", "candidates.v1", "--bootstrap", "127.0.0.1:1"], 1),
        (STREAMS, ["log", "check", "nowhere"], 1),
        (STREAMS, ["world", "w", "--listeners", "3"], 0),
        (STREAMS, ["--help"], 0),
    ],
    ids=lambda value: "-".join(value) if not isinstance(value, int) else "",
)
def test_closed_streams_change_nothing_else(run, tmp_path, closed, args, code):
    found, out, err = run(*args, closed=closed)
    assert found == code, err
    assert "Traceback" not in err
    if "stderr" not in closed:
        assert err.startswith("error: ") == (code == 1)
    if "stdout" not in closed and code == 0 and args != ["--help"]:
        json.loads(out)
    for folder in {"w", "plays"} & set(args) if code == 0 else ():
        assert check_folder(tmp_path / folder).is_sound


@pytest.mark.parametrize("args", [["config", "show"], ["--help"], ["--version"]], ids=" ".join)
def test_output_that_cannot_be_written_is_named_with_what_to_do(run, args):
    with Path("/dev/full").open("w") as full:
        code, _, err = run(*args, stdout=full)
    assert code == 1
    assert err.startswith("error: ")
    assert err.endswith("No space left on device; free some space there, or choose another disk\n")
    assert len(err.splitlines()) == 1


def test_messages_that_cannot_be_written_do_not_stop_the_work(run, tmp_path):
    with Path("/dev/full").open("w") as full:
        code, out, _ = run("import", "csv", "plays.csv", "plays", "--json", stderr=full)
    assert code == 0
    assert json.loads(out)["listens"] == LogFolder(tmp_path / "plays").manifest.counts.listens


@pytest.mark.parametrize(
    "args",
    [["config", "show"], ["config", "show", "--no-json"], ["--help"], ["config"]],
    ids=" ".join,
)
def test_a_command_whose_output_is_read_no_longer_ends_by_sigpipe(run, args):
    reads, writes = os.pipe()
    os.close(reads)
    try:
        code, _, err = run(*args, stdout=writes)
    finally:
        os.close(writes)
    assert (code, err) == (-signal.SIGPIPE, "")


def test_an_error_that_nothing_reads_is_no_traceback(run):
    reads, writes = os.pipe()
    os.close(reads)
    try:
        code, _, _ = run("nonsense", stderr=writes)
    finally:
        os.close(writes)
    assert code == -signal.SIGPIPE


def test_head_ends_a_command_that_goes_on_without_end(sidestream_process, embedded_topics):
    """`tail … | head -n 1`, by what `set -o pipefail` sees of it."""
    with sidestream_process("tail", "candidates.v1", "--from-start", *embedded_topics.flags) as process:
        embedded_topics.send("candidates.v1", b'{"rank": 1}')
        assert "rank" in process.stdout.readline()
        process.stdout.close()
        embedded_topics.send("candidates.v1", b'{"rank": 2}')
        assert process.wait(60) == -signal.SIGPIPE


@pytest.mark.parametrize(
    ("encoding", "args"),
    [("ascii", ["--help"]), ("ascii", ["import", "csv", "--help"]), ("latin-1", ["log"]), ("cp437", ["up", "--help"])],
)
def test_help_is_shown_in_any_encoding(run, monkeypatch, encoding, args):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    code, out, err = run(*args, encoding=encoding, text=None)
    assert (code in (0, 2), err) == (True, "")
    assert "Usage: " in out
    assert "kafka.bootstrap=..." in out
    assert "\\u" not in out
    assert "\\x" not in out
