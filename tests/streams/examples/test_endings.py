"""Examples end like commands: an error is one line without a traceback, and a reader may go away (`| head`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidestream.streams import examples

# All but `library` need a Kafka.
NAMES = {path.stem for path in Path(next(iter(examples.__path__))).glob("*.py")}
KAFKA_NAMES = sorted(NAMES - {"__init__", "connecting", "ending", "library"})


def run(name, *args, cwd, stdout=subprocess.PIPE):
    command = [sys.executable, "-m", f"sidestream.streams.examples.{name}", *args]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, text=True, env=os.environ | path)


@pytest.mark.parametrize("name", KAFKA_NAMES)
def test_without_a_kafka_an_example_says_so_in_one_line(tmp_path, name):
    done = run(name, cwd=tmp_path)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: no Kafka answers"), line
    assert done.returncode == 1


@pytest.mark.parametrize("place", ["127.0.0.1:1", "none.toml"])
def test_a_place_that_is_wrong_is_told_in_one_line(tmp_path, place):
    done = run("publish_listens", place, cwd=tmp_path)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: "), line
    assert place in line
    assert done.returncode == 1


def test_a_reader_may_go_away(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("library", cwd=tmp_path, stdout=writer)
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 0
