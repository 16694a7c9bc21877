"""Every command and program that the README shows is run, in its order, by what it says.

The environment makes it small (an embedded broker, a small world, few training steps); what is typed is not changed.
"""

import csv
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sidestream.streams.broker.embedded import has_library
from sidestream.streams.broker.probe import free_ports
from tests.repository.pages import README, ROOT, blocks

# Which sections are typed in one folder, one after the other.
SCENARIOS = {
    "start and tour": ("Start", "Tour"),
    "own data": ("Your own data, in ten minutes", "As a library", "Plug in your ranker"),
}
STAYS = re.compile(r"sidestream( --\S+ \S+)* up")
COMMAND_S = 600
READY_S = 120
BLOCKS = blocks(README.read_text())


def test_every_section_that_shows_something_is_run():
    listed = [section for sections in SCENARIOS.values() for section in sections]
    assert sorted({block.section for block in BLOCKS if block.language in ("console", "python")}) == sorted(listed)
    shown = {block.language for block in BLOCKS}
    assert shown == {"console", "python", ""}, "commands are shown in console blocks, programs in python blocks"
    assert [block.section for block in BLOCKS if block.language == ""] == [""], "the picture alone says nothing to type"


def test_what_is_named_in_passing_is_shown_as_well():
    typed = [command for block in BLOCKS for command in block.commands]
    prose = re.sub(r"^```.*?^```$", "", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    for named in re.findall(r"`((?:sidestream|make|python)(?: [^`]+)?)`", prose):
        assert any(command.startswith(named) for command in typed), named


class Terminal:
    """A folder in which one types, like a checkout where everything is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staying: subprocess.Popen[str] | None = None
        (self.port,) = free_ports(1)
        binaries = folder / ".venv" / "bin"
        binaries.mkdir(parents=True)
        for program in ("sidestream", "python", "activate"):
            (binaries / program).symlink_to(Path(sys.executable).parent / program)
        for link in ("Makefile", "pyproject.toml", "deploy"):
            (folder / link).symlink_to(ROOT / link)
        # Make takes the order of times for the order of installing.
        for mark in ("bin/uv", ".dev-installed", ".serve-installed"):
            (folder / ".venv" / mark).touch()
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "SIDESTREAM_BROKER__KIND": "embedded",
            "SIDESTREAM_WEB__PORT": str(self.port),
            "SIDESTREAM_WORLD__LISTENERS": "60",
            "SIDESTREAM_DEMO__PLAY_S": "5",
            "SIDESTREAM_TRAIN__MAX_STEPS": "20",
        }

    def type(self, command: str) -> str:
        """Run a command to its end, or until what it starts is ready."""
        if STAYS.fullmatch(command):
            self.stay(command)
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2_000:]}\n{done.stderr[-2_000:]}"
        if "replay" in command:
            self.wait(lambda: not self.unread(), "the worker has read what was played")
        return done.stdout

    def stay(self, command: str) -> None:
        """Start what stays, in the place of what stayed before."""
        self.leave()
        with (self.folder / "up.log").open("w") as log:
            self.staying = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.wait(lambda: self.page("readyz") is not None, "the worker is ready")

    def leave(self) -> None:
        """End what stays, as Ctrl-C does."""
        if self.staying is not None:
            self.staying.terminate()
            assert self.staying.wait(READY_S) == 0
            self.staying = None

    def page(self, name: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{name}", timeout=5) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None

    def unread(self) -> bool:
        page = self.page("metrics")
        return page is None or bool(re.search(r"^sidestream_unread\{.*\} [1-9]", page, re.MULTILINE))

    def wait(self, condition, what: str) -> None:
        deadline_s = time.monotonic() + READY_S
        while not condition():
            assert self.staying is None or self.staying.poll() is None, (self.folder / "up.log").read_text()[-2_000:]
            assert time.monotonic() < deadline_s, f"waited for: {what}"
            time.sleep(0.1)


@pytest.fixture
def terminal(tmp_path):
    if not has_library():
        pytest.skip("no embedded broker here; install the extra embedded")
    if not (Path(sys.executable).parent / "sidestream").exists():
        pytest.skip("no installed command here; run make install")
    made = Terminal(tmp_path)
    yield made
    made.leave()


def write_plays(terminal: Terminal) -> None:
    """The file of the section on own data: the plays of a world, by names alone."""
    terminal.type("sidestream world w")
    world = terminal.folder / "w"
    rows = [json.loads(line) for line in (world / "catalog.jsonl").read_text().splitlines()]
    items = {row["item_id"]: row for row in rows if not row.get("removed")}
    with (terminal.folder / "plays.csv").open("w", newline="") as file:
        plays = csv.writer(file)
        plays.writerow(["user", "date", "artist", "track"])
        for line in (world / "events" / "listens.jsonl").read_text().splitlines():
            play = json.loads(line)
            if play.get("signal", "listen") == "listen":
                item, at = items[play["item_id"]], datetime.fromtimestamp(play["at"] / 1_000, UTC)
                by = item.get("creator") or item.get("show")
                plays.writerow([play["user_id"], f"{at:%Y-%m-%d %H:%M:%S}", by, item["title"]])


@pytest.mark.slow
@pytest.mark.train
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_the_readme_shows_can_be_typed(scenario, terminal):
    if scenario == "own data":
        pytest.importorskip("torch")
        write_plays(terminal)
    for block in BLOCKS:
        if block.section not in SCENARIOS[scenario]:
            continue
        for command in block.commands:
            print(f"$ {command}")
            print(terminal.type(command))
        # The ranker is the file that a command after it runs.
        if block.language == "python" and not block.is_generated:
            print(terminal.type(f"python - <<'END'\n{block.text}\nEND"))
