"""The demo as a person runs it, in a window of 80 columns: what it prints, and that its commands and examples work."""

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from sidestream.streams.examples import (
    add_item,
    connecting,
    erase_user,
    library,
    publish_listens,
    rank_candidates,
    request_candidates,
)

COLUMNS = 80
DEADLINE_S = 120.0
ROOT = Path(__file__).resolve().parents[2]
# The last line that is printed before it plays on; long paths break it.
READY = r"tail (\\\n +)?candidates\.v1\n"
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A small world, played in three seconds; the embedded broker needs no Java.
SETTINGS = ("demo.play_s=3", "demo.again_s=3", "broker.kind=embedded", "session.deadline_ms=2000")


class Window:
    """A process in a terminal of its own."""

    def __init__(self, command, cwd):
        own, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        # Commands find it by the registry that is kept there.
        self.state_home = env["XDG_STATE_HOME"]
        self.process = subprocess.Popen(
            command, stdin=its, stdout=its, stderr=its, cwd=cwd, start_new_session=True,
            env={**env, "TERM": "xterm", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(its)
        self._own, self._read = own, b""
        self._reader = threading.Thread(target=self._take, daemon=True)
        self._reader.start()

    def _take(self):
        while True:
            try:
                piece = os.read(self._own, 65_536)
            except OSError:  # its side is closed
                return
            self._read += piece

    @property
    def text(self):
        return _CODES.sub("", self._read.decode(errors="replace")).replace("\r\n", "\n")

    def wait_for(self, pattern):
        deadline = time.monotonic() + DEADLINE_S
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.text}"
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.text}"
            time.sleep(0.05)

    def end(self, sign=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(sign)
        code = self.process.wait(60)
        self._reader.join(10)
        os.close(self._own)
        return code


def demo_command(*options, play=()):
    settings = [word for setting in (*SETTINGS, *play) for word in ("--set", setting)]
    return [sys.executable, "-m", "sidestream.streams.cli.entry", *settings, "demo", *options]


@pytest.fixture(scope="module")
def playing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    # Long enough to be asked in: it ends with Ctrl-C.
    window = Window(demo_command(play=("demo.again_s=600",)), folder)
    window.settings_file = folder / "var/demo/sidestream.toml"
    yield window
    if window.process.poll() is None:
        window.end()


@pytest.mark.slow
def test_everything_it_prints_fits_the_window_and_is_no_json(playing):
    playing.wait_for(READY)
    # A path may be longer than the window: it must stay whole to be copied.
    lines = [line for line in playing.text.splitlines() if "/worker.log" not in line and "sidestream.toml" not in line]
    assert max(map(cell_len, lines)) <= COLUMNS
    assert not any(line.startswith("{") for line in lines)
    assert " s left" in playing.text
    assert "0 invalid candidates" in " ".join(playing.text.split())


def rows_of(text):
    """Cells of a table by row; columns are two spaces apart."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_no_item_of_the_history_is_unfamiliar(playing):
    playing.wait_for(READY)
    before, after = playing.text.split("\nSIDs: ")
    heard = [row for row in rows_of(before.split("State of ")[1])[2:] if len(row) > 3]
    listed = [row for row in rows_of(after) if len(row) > 4 and re.fullmatch(r"\d+-\d+-\d+", row[1])]
    assert heard
    assert listed
    # Names may be cut, in each table elsewhere.
    makers = [row[3].rstrip("…") for row in heard]
    unfamiliar = [row[3].rstrip("…") for row in listed if row[4] == "no"]
    assert not [name for name in unfamiliar if any(name.startswith(m) or m.startswith(name) for m in makers)]


def commands_of(text):
    lines = text.split("from any folder:")[1].replace(" \\\n", "").splitlines()
    return [shlex.split(line) for line in lines if " --broker demo " in line]


def test_its_three_commands_reach_it_from_any_folder(playing, tmp_path):
    playing.wait_for(READY)
    state, session, tail = commands_of(playing.text)
    # A folder with settings of its own is no hindrance.
    (tmp_path / "sidestream.toml").write_text("[kafka]\nbootstrap = '127.0.0.1:1'\n[web]\nport = 1\n")

    def run(words):
        env = {**os.environ, "XDG_STATE_HOME": playing.state_home}
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    shown = run([*state, "--json"])
    assert shown["user_id"] == state[-1]
    assert shown["history"]
    answer = run([*session, "--json"])
    assert answer["user_id"] == state[-1]
    assert answer["candidates"]
    assert len(answer["catalogue_offsets"]) == 4
    assert run([*tail, "--from-start", "--limit", "1", "--json"])["value"]["candidate_set_id"]


@pytest.fixture
def run_example(playing, capsys, monkeypatch):
    """Runs an example's `main` against the demo, as its last lines do; gives what it printed."""
    monkeypatch.setattr(sys, "argv", ["example", str(playing.settings_file)])

    def run(module, **arguments):
        with connecting.open_client() as client:
            module.main(client, **arguments)
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_the_examples_talk_with_it_in_titles(playing, run_example):
    playing.wait_for(READY)
    told = run_example(publish_listens)
    assert told.count("ada listens to ") == 3
    assert "4 events published" in told
    assert "its SID is " in run_example(add_item)
    told = run_example(request_candidates)
    assert len(re.findall(r"^ *\d+  \S.*\d\.\d{3}$", told, re.MULTILINE)) == 10
    assert "ada is a stranger now" in run_example(erase_user)
    lines = run_example(rank_candidates, timeout_s=4.0).splitlines()
    assert any(re.match(r"listener-\d+: .+; .+; .+", line) for line in lines)


def test_an_example_is_a_program(playing, tmp_path):
    playing.wait_for(READY)
    command = [sys.executable, "-m", publish_listens.__name__, str(playing.settings_file)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("listens to")) == (0, 3), done.stderr


def test_it_ends_with_ctrl_c_and_leaves_no_address_behind(playing):
    playing.wait_for("playing on")
    assert playing.settings_file.exists()
    assert playing.end() == 0, playing.text
    assert not playing.settings_file.exists()


@pytest.mark.slow
def test_once_it_says_how_it_stays_and_json_comes_last_where_programs_read(tmp_path):
    command = demo_command("--once")
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["answered_share"], summary["invalid_candidates"], summary["unjudged_sets"]) == (1.0, 0, 0)
    assert "The demo has ended. This plays on" in done.stderr
    assert re.search(READY, done.stderr)


def test_the_library_example_recommends_without_kafka(tmp_path, capsys):
    library.main(tmp_path / "world")
    heard, following = capsys.readouterr().out.split("next:\n")
    assert heard.count("\n") == 4
    assert following.count("\n") == 10
