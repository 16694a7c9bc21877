"""The failure table's rows about the disk: damaged databases, kills while one is filled, no space.

As in `test_failures.py`, every row runs with short limits and, with `slow`, with the default ones.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from sidestream.streams.worker.watch.watchdog import ExitCode
from tests.integration.rigs.failure_rig import MARGIN_S, ended, ready_with_items, state_size
from tests.integration.rigs.session_rig import wait_until

pytestmark = pytest.mark.broker


def databases(loop):
    return sorted(Path(loop.flags["data_dir"]).rglob("*.db"))


def scramble(file, first=0, last=None):
    """Overwrite a part of a file in place, as a failing disk does."""
    content = file.read_bytes()[first:last]
    with file.open("r+b") as open_file:
        open_file.seek(first)
        open_file.write(os.urandom(len(content)))


def restarted_with_tables_on_disk(loop, users):
    """Restart the worker: opening a database moves the write-ahead log to table files."""
    for number in range(users):
        loop.listen(f"u{number}", f"i{number % 5}", 3_000 + number)
    loop.flush()
    wait_until(lambda: loop.metric('sidestream_listens_total{outcome="applied"}') == users + 1, what="all listens")
    assert loop.end() == 0
    return loop.start().ready()


def recovers(loop, failure, what):
    """Start the worker; it must have all states again, and log which tables it rebuilt."""
    loop.start()
    wait_until(lambda: loop.get("/readyz")[0] != 0, 60, "the new process")
    began = time.monotonic()
    loop.ready(60)
    failure(what, "recovered", time.monotonic() - began, 20.0)
    assert "the next worker that opens it rebuilds it from the changelog: rebuilding it now" in loop.log.read_text()
    wait_until(lambda: state_size(loop) == 1, what="the state is there")
    loop.listen("u", "i1", 300_000)
    loop.flush()
    wait_until(lambda: state_size(loop) == 2, what="the next listen is folded")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["manifest", "tables"])
def test_corrupt_database(rig, limits, failure, how):
    loop = restarted_with_tables_on_disk(ready_with_items(rig()), users=20)
    assert loop.end() == 0
    for database in databases(loop):
        files = [database / "CURRENT"] if how == "manifest" else [*database.glob("*.sst"), *database.glob("*.log")]
        for file in files:
            scramble(file)
    recovers(loop, failure, f"corrupt RocksDB ({how})")
    assert loop.metric('sidestream_rebuilt_tables_total{reason="damaged"}') == len(databases(loop))
    assert state_size(loop, "u19") == 1


@pytest.mark.slow
def test_database_corrupted_while_it_is_open(rig, limits, failure):
    # Many users: the block that holds the positions was read at the opening, and stays in the cache.
    loop = restarted_with_tables_on_disk(ready_with_items(rig()), users=600)
    for database in databases(loop):
        for file in database.glob("*.sst"):
            size = file.stat().st_size
            scramble(file, size // 3, size // 2)
    began = time.monotonic()
    for number in range(600):
        if loop.get(f"/v1/users/u{number}/state")[0] != 200:
            break
    code, _, last = ended(loop, 60)
    assert code == ExitCode.CRASHED, last
    assert "damaged (Corruption: " in last
    failure("corrupt RocksDB, read at run time", "exit 70", time.monotonic() - began, limits.shutdown + MARGIN_S)
    recovers(loop, failure, "corrupt RocksDB, the start after")
    assert loop.metric('sidestream_rebuilt_tables_total{reason="damaged"}') >= 1
    for number in range(0, 600, 60):
        assert state_size(loop, f"u{number}") == 1


def fill_changelog(loop, count):
    """Publish incompressible states and return them."""
    states = {f"filler{number}": os.urandom(1_400) for number in range(count)}
    for key, value in states.items():
        loop.send(loop.topics.user_state_changelog, key, value)
    loop._producer.flush(120)  # tens of MB
    return states


def restoring(loop):
    return [why for why in loop.get("/readyz")[1]["reasons"] if why.startswith("restoring partition ") and ":" in why]


@pytest.mark.slow
def test_killed_in_the_middle_of_a_restore(rig, limits, failure):
    loop = ready_with_items(rig())
    assert loop.end() == 0
    states = fill_changelog(loop, 30_000)
    loop.start()
    wait_until(lambda: loop.get("/readyz")[0] != 0, 60, "the new process")
    reason = wait_until(lambda: restoring(loop), 30, "/readyz says how far it is")[0]
    loop.end(signal.SIGKILL)
    assert re.fullmatch(r"restoring partition \d+: [\d,]+ of [\d,]+(, [\d,]+ s left)?", reason)
    began = time.monotonic()
    loop.start().ready(60)
    failure("SIGKILL in the middle of a restore", "recovered", time.monotonic() - began, 30.0)
    assert state_size(loop) == 1
    assert loop.end() == 0
    held = {}
    for database in databases(loop):
        table = Rdict(str(database), Options(raw_mode=True))
        held |= dict(table.items())
        table.close()
    assert {key: held.get(key.encode()) for key in states} == states


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be filled here: mount is not permitted ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_disk_full(rig, small_disk, limits, failure):
    loop = ready_with_items(rig(data_dir=str(small_disk / "data")))
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4_096)
    for number in range(5_000):
        loop.listen(f"u{number}", f"i{number % 5}", 10_000 + number)
    loop.flush()
    code, seconds, last = ended(loop, limits.no_progress + 30)
    assert code == ExitCode.CRASHED, last
    assert "No space left" in last
    failure("disk full", "exit 70", seconds, limits.shutdown + MARGIN_S)
    filler.unlink()
    began = time.monotonic()
    loop.start().ready(60)
    wait_until(lambda: state_size(loop, "u4999") == 1, 30, "every listen is folded")
    failure("disk no longer full", "recovered", time.monotonic() - began, 30.0)
    assert loop.end() == 0


@pytest.mark.slow
def test_disk_full_while_restoring(rig, small_disk, limits, failure):
    loop = ready_with_items(rig(data_dir=str(small_disk / "data")))
    assert loop.end() == 0
    fill_changelog(loop, 40_000)  # 56 MB, of which the disk holds a half
    loop.start()
    wait_until(lambda: loop.get("/readyz")[0] != 0, 60, "the new process")
    began = time.monotonic()
    code, _, last = ended(loop, limits.no_progress + 30)
    assert code == ExitCode.CRASHED, last
    assert "No space left" in last
    # From the start of the process: until the disk is full, half of the restore goes by.
    failure("disk full while restoring", "exit 70", time.monotonic() - began, limits.shutdown + MARGIN_S + 10.0)
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    began = time.monotonic()
    loop.start().ready(60)
    failure("disk no longer full, restore goes on", "recovered", time.monotonic() - began, 30.0)
    assert state_size(loop) == 1
    assert loop.end() == 0
