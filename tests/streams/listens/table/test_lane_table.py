"""The local table: atomic values and positions, identity, damage."""

import struct

import pytest
from rocksdict import Cache

from sidestream.models.history import block_key
from sidestream.models.history.blocks import STRAY
from sidestream.streams.errors import LaneError
from sidestream.streams.listens.restore.origin import ORIGIN_KEY
from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.meta import META_KEY, Positions, TableIdentity, TableTopics
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.listens.table.users import UserTable

IDENTITY = TableIdentity("listens", "changelog", 4)
ID_1, ID_2 = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2))
SETTINGS = TableSettings(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)


@pytest.fixture
def table(tmp_path):
    tables = UserTable(tmp_path, IDENTITY, SETTINGS)
    yield tables.open([2])[2]
    tables.close()


def reopen(table: PartitionTable) -> PartitionTable:
    table.close()
    return PartitionTable(table.path, IDENTITY.of(2), SETTINGS, Cache(1 << 20))


def test_new_table_holds_nothing(table):
    assert table.positions == Positions(-1, -1)
    assert table.get(b"u") is None
    assert table.get_many([]) == []
    assert list(table.items()) == []


def test_values_and_positions_survive_together(table):
    table.write({b"u1": b"one", b"u2": b"two"}, Positions(7, 40))
    table.write({b"u1": b"new", b"u2": None}, Positions(9, 44))
    again = reopen(table)
    assert again.positions == Positions(9, 44)
    assert again.get_many([b"u2", b"u1", b"u3"]) == [None, b"new", None]
    assert list(again.items()) == [(b"u1", b"new")]
    again.close()


def test_blocks_are_stored_next_to_users_and_are_not_users(table):
    values = {b"u": b"state", "\U0010ffff".encode(): b"last", b"ab": b"x"}
    blocks = {
        block_key(b"a", 1): b"of a",
        block_key(b"u", STRAY): b"stray",
        block_key(b"u", 300): b"b",
        b"\xff\xffz": b"",
    }
    table.write(values | blocks, Positions(1, 1))
    table.write({block_key(b"u", 7): b"c", block_key(b"a", 1): None}, Positions(2, 2))
    assert dict(table.items()) == values
    assert table.history(b"u") == (b"state", {7: b"c", 300: b"b", STRAY: b"stray"})
    assert table.history(b"a") == (None, {})
    assert table.history(b"ab") == (b"x", {})


def test_history_is_consistent(table):
    """Writes come from another thread: here one comes in the middle of the read."""
    table.write({b"u": b"1", block_key(b"u", 0): b"of 1"}, Positions(1, 1))
    states = [b"0", b"1"]
    table.get = lambda key: states.pop(0) if states else b"1"
    assert table.history(b"u") == (b"1", {0: b"of 1"})


def test_clear_deletes_values_and_positions(table):
    table.write({b"u": b"v"}, Positions(3, 5))
    table.clear()
    assert table.positions == Positions()
    assert table.get(b"u") is None
    assert table.get(META_KEY) is None


@pytest.mark.parametrize(
    "other",
    [
        TableIdentity("other", "changelog", 4),
        TableIdentity("listens", "other", 4),
    ],
)
def test_table_of_another_identity_is_rejected(table, other):
    table.write({}, Positions(1, 1))
    table.close()
    with pytest.raises(
        LaneError,
        match=r"expected layout up to 3 of .*, got layout 3 of listens\|changelog\|4\|2; stop the worker, delete",
    ):
        PartitionTable(table.path, other.of(2), SETTINGS, Cache(1 << 20))


def test_table_in_use_is_rejected(table):
    with pytest.raises(LaneError, match="its own data_dir"):
        PartitionTable(table.path, IDENTITY.of(2), SETTINGS, Cache(1 << 20))


def test_closed_tables_can_be_opened_again(tmp_path):
    tables = UserTable(tmp_path, IDENTITY, SETTINGS)
    tables.open([0, 1])[1].write({b"u": b"v"}, Positions(0, 1))
    tables.close()
    assert tables.get(1) is None
    assert tables.open([1])[1].get(b"u") == b"v"
    tables.close()


@pytest.mark.parametrize("header", [struct.pack("<Bqq", 1, 7, 40), struct.pack("<Bqq32x", 2, 7, 40)])
def test_table_of_an_earlier_layout_is_read_and_rewritten(tmp_path, header):
    tables = UserTable(tmp_path, IDENTITY, SETTINGS)
    table = tables.open([2])[2]
    table._db[META_KEY] = header + b"listens|changelog|4|2"
    again = reopen(table)
    assert again.positions == Positions(7, 40)
    assert again.topics == TableTopics()
    assert again.age_ms() is None
    again.set_topics(TableTopics(ID_1, ID_2))
    again.write({b"u": b"v"}, again.positions)
    third = reopen(again)
    assert (third.positions, third.topics) == (Positions(7, 40), TableTopics(ID_1, ID_2))
    assert 0 <= third.age_ms() < 60_000
    third.close()


def test_only_a_complete_changelog_resets_the_age(tmp_path):
    now_ms = [1_000]
    table = UserTable(tmp_path, IDENTITY, SETTINGS, lambda: now_ms[0]).open([2])[2]
    assert table.age_ms() is None
    table.write({b"u": b"v"}, Positions(1, 1))
    now_ms[0] = 5_000
    table.load({b"w": b"v"}, Positions(2, 1))
    table.flush()
    assert table.age_ms() == 4_000
    table.write({}, Positions(2, 1))
    assert table.age_ms() == 0
    table.clear()
    assert table.age_ms() is None
    table.close()


def test_offsets_of_another_source_are_discarded(table):
    table.set_topics(TableTopics(ID_1, ID_2))
    table.write({}, Positions(7, 40))
    again = reopen(table)
    again.set_topics(TableTopics(ID_2, ID_2))
    assert again.positions == Positions(7, -1)
    again.close()


def test_records_about_the_changelog_are_not_users(table):
    table.write({b"u": b"v", ORIGIN_KEY: b"{}"}, Positions(1, 1))
    assert list(table.items()) == [(b"u", b"v")]
    assert table.get(ORIGIN_KEY) == b"{}"
