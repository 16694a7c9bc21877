"""Superseded bytes leave the files of an open database: no byte of a removed user is found on the disk."""

import time
from pathlib import Path

import pytest

from sidestream.models.history import block_key
from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.meta import Positions, TableIdentity
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.listens.table.settling import ROUNDS
from sidestream.streams.listens.table.users import UserTable

IDENTITY = TableIdentity("listens", "changelog", 4)
SETTINGS = TableSettings(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20, purge_s=3)
USER, SECRET = b"5b1f09e2-a0c7", bytes(range(100, 140))


@pytest.fixture
def table(tmp_path):
    tables = UserTable(tmp_path, IDENTITY, SETTINGS)
    yield tables.open([0])[0]
    tables.close()


def holding(folder: Path, *what: bytes) -> set[str]:
    """The kinds of files below a folder that hold a byte string."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {file.suffix or file.name.split("-")[0] for file in files for text in what if text in file.read_bytes()}


def wait_for_next_second() -> None:
    """RocksDB counts the age of a file in whole seconds: wait until all of now is older than one."""
    deadline = time.time() + 1.05
    while time.time() < deadline:
        time.sleep(0.01)


def fill(table: PartitionTable, count: int = 300) -> None:
    for number in range(count):
        table.write({b"user-%03d" % number: SECRET[::-1] * 10}, Positions(number, number))


def test_no_byte_of_a_removed_user_is_left_after_the_rounds(table, tmp_path):
    fill(table)
    table.write({USER: SECRET, block_key(USER, 0): SECRET}, Positions(300, 300))
    assert holding(tmp_path, SECRET) == {".log"}
    # A file of its own, in the last level: what no later flush would touch.
    table._db.compact_range(None, None)
    assert holding(tmp_path, SECRET) == {".sst"}
    assert holding(tmp_path, USER) == {".sst", "MANIFEST"}
    table.write({USER: None, block_key(USER, 0): None}, Positions(301, 301))
    table.flush()
    assert holding(tmp_path, SECRET) == {".sst"}
    for _ in range(ROUNDS):
        wait_for_next_second()
        assert table.settle()
    assert holding(tmp_path, SECRET, USER) == set()
    assert table.get(USER) is None
    assert table.get(b"user-299") == SECRET[::-1] * 10
    assert table.positions == Positions(301, 301)
    assert not table.settle(), "nothing has changed since"
    table.write({b"another": b"x"}, Positions(302, 302))
    assert table.settle()


@pytest.mark.slow
def test_what_an_earlier_process_wrote_is_settled_too(tmp_path):
    tables = UserTable(tmp_path, IDENTITY, SETTINGS)
    table = tables.open([0])[0]
    table.load({USER: SECRET}, Positions(1, 1), is_complete=True)
    table.flush()
    table.write({USER: None}, Positions(2, 2))
    tables.close()
    assert holding(tmp_path, SECRET)
    table = tables.open([0])[0]
    for _ in range(ROUNDS):
        wait_for_next_second()
        assert table.settle()
    assert holding(tmp_path, SECRET, USER) == set()
    tables.close()


def test_a_closed_table_has_no_rounds(tmp_path):
    tables = UserTable(tmp_path, IDENTITY, SETTINGS)
    table = tables.open([0])[0]
    tables.close()
    assert not table.settle()


def test_a_table_that_is_emptied_is_settled_anew(table, tmp_path):
    for _ in range(ROUNDS):
        assert table.settle()
    assert not table.settle()
    table.clear()
    assert table.settle()
