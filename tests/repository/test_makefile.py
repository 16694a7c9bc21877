"""What the Makefile installs: the serving set alone until something needs more, and it says so before."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def planned(tmp_path, *args):
    """The commands that make would run in a checkout where nothing is installed."""
    # Inside `make test` the variables of that make would change what this one prints.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--dry-run", f"VENV={tmp_path / 'venv'}", *args],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", [(), ("serve",), ("demo", "ONCE=1"), ("demo", "DATA=absent"), ("up", "WORKERS=2")])
def test_what_serves_installs_the_serving_set_alone(tmp_path, target):
    commands = planned(tmp_path, *target)
    told, installs = (commands.index(text) for text in ("installing the serving set", "locks/serve.txt"))
    assert told < installs
    assert "locks/dev.txt" not in commands


@pytest.mark.parametrize("target", [("install",), ("test",), ("check",), ("demo", "DATA=Makefile")])
def test_what_needs_more_says_so_before(tmp_path, target):
    commands = planned(tmp_path, *target)
    told, installs = (commands.index(text) for text in ("installing the development set", "locks/dev.txt"))
    assert told < installs
    assert "locks/serve.txt" not in commands


def test_where_all_is_installed_nothing_is(tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    for name in ("bin/uv", ".dev-installed", ".serve-installed"):
        (tmp_path / "venv" / name).touch()
    assert planned(tmp_path, "demo", "ONCE=1").split() == [f"{tmp_path}/venv/bin/sidestream", "demo", "--once"]


def test_commands_are_told_as_they_can_be_typed(tmp_path):
    commands = planned(tmp_path, "serve")
    assert f"ready: {tmp_path}/venv/bin/sidestream demo --once" in commands
    assert f"'. {tmp_path}/venv/bin/activate'" in commands
