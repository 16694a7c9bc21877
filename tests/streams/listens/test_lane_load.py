"""Bulk loads without the write-ahead log: after a kill at any moment, a table's positions never exceed its contents."""

import random
import subprocess
import sys

import pytest
from rocksdict import Cache

from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable

SETTINGS = TableSettings(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
KEYS = 50
BULK = 20

# Offset n of this changelog says: key n % KEYS has the value n. Memtables are full after about 50 bulks.
LOADER = f"""
import sys
from pathlib import Path
from random import Random
from rocksdict import Cache
from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.listens.table.meta import Positions

settings = TableSettings(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
table = PartitionTable(Path(sys.argv[1]), b"listens|changelog|8|0", settings, Cache(1 << 20))
logged_from, junk = int(sys.argv[2]), Random(0).randbytes(1000)
first = table.positions.changelog_offset + 1
while True:
    values = {{b"%d" % (n % {KEYS}): b"%d " % n + junk for n in range(first, first + {BULK})}}
    first += {BULK}
    write = table.write if first > logged_from else table.load
    write(values, Positions(first - 1, 0))
    print(first - 1, flush=True)
    if write == table.write:
        sys.stdin.read()  # until it is killed
"""


def kill_after(path, offset, logged_from):
    """Load until that offset is reported, and crash in the middle of what follows."""
    command = [sys.executable, "-c", LOADER, str(path), str(logged_from)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as loader:
        for line in loader.stdout:
            if int(line) >= offset:
                break
        else:
            raise AssertionError("it ended by itself")
        loader.kill()
        for line in loader.stdout:
            if line.endswith(b"\n"):
                offset = int(line)
    return offset


def check(path):
    """Compare each key with its value in the changelog up to the position, and return the position."""
    table = PartitionTable(path, b"listens|changelog|8|0", SETTINGS, Cache(1 << 20))
    end = table.positions.changelog_offset + 1
    held = {int(key): int(value.split(b" ", 1)[0]) for key, value in table.items()}
    table.close()
    assert end % BULK == 0, "bulks are atomic"
    assert held == {n % KEYS: n for n in range(max(0, end - KEYS), end)}
    return end - 1


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_during_a_load_leaves_a_prefix(tmp_path, seed):
    rng, held = random.Random(seed), -1
    for _ in range(2):
        reported = kill_after(tmp_path / "0.db", held + rng.randrange(3_000, 6_000), logged_from=1 << 60)
        before, held = held, check(tmp_path / "0.db")
        assert held <= reported + BULK
        assert held > before, "memtables that were full are there"


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_after_the_first_logged_write_loses_nothing(tmp_path, seed):
    logged_from = random.Random(seed).randrange(5, 30) * BULK  # before a memtable is full
    reported = kill_after(tmp_path / "0.db", logged_from, logged_from)
    assert check(tmp_path / "0.db") >= reported


def test_a_flushed_load_survives_a_kill(tmp_path):
    script = LOADER.replace("    print(first", "    table.flush()\n    print(first")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "0.db"), str(1 << 60)], stdout=subprocess.PIPE
    ) as loader:
        reported = int(loader.stdout.readline())
        loader.kill()
    assert check(tmp_path / "0.db") >= reported >= 0


def test_loaded_values_are_readable_at_once_and_survive_a_close(tmp_path):
    table = PartitionTable(tmp_path / "0.db", b"listens|changelog|8|0", SETTINGS, Cache(1 << 20))
    table.write({b"gone": b"v"}, Positions(0, 3))
    table.load({b"u": b"1", b"gone": None}, Positions(2, 3))
    assert table.get_many([b"u", b"gone"]) == [b"1", None]
    table.close()
    again = PartitionTable(tmp_path / "0.db", b"listens|changelog|8|0", SETTINGS, Cache(1 << 20))
    assert (again.positions, list(again.items())) == (Positions(2, 3), [(b"u", b"1")])
    again.close()
