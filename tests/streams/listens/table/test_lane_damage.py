"""Damaged databases: detected on opening and later, marked, discarded; never while in use."""

import subprocess
import sys
from random import Random

import pytest
from rocksdict import Cache

from sidestream.streams.errors import LaneError, TableDamaged
from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.database import discard
from sidestream.streams.listens.table.meta import Positions, TableIdentity
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.listens.table.users import UserTable

IDENTITY = TableIdentity("listens", "changelog", 4)
SETTINGS = TableSettings(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
VALUES = {b"u%03d" % number: Random(number).randbytes(1_000) for number in range(400)}
# Around the middle of the file, where the damage is.
MIDDLE = [b"u%03d" % number for number in range(198, 206)]


@pytest.fixture
def tables(tmp_path):
    tables = UserTable(tmp_path, IDENTITY, SETTINGS)
    yield tables
    tables.close()


@pytest.fixture
def path(tables):
    """A database in one table file, closed."""
    table = tables.open([2])[2]
    table.load(VALUES, Positions(399, 500))
    table.flush()
    tables.close()
    return table.path


def overwrite(file, first, last):
    content = bytearray(file.read_bytes())
    content[first:last] = bytes(byte ^ 0xFF for byte in content[first:last])
    file.write_bytes(content)


def damage_a_block(path):
    """Damage a block that is read only on access."""
    (file,) = path.glob("*.sst")
    middle = file.stat().st_size // 2
    overwrite(file, middle, middle + 20)


def damage_manifest(path):
    (path / "CURRENT").write_text("no manifest")


def lose_manifest(path):
    (manifest,) = path.glob("MANIFEST-*")
    manifest.unlink()


def damage_footer(path):
    (file,) = path.glob("*.sst")
    overwrite(file, -40, None)


def lose_a_file(path):
    (file,) = path.glob("*.sst")
    file.unlink()


@pytest.mark.parametrize("harm", [damage_manifest, lose_manifest, damage_footer, lose_a_file])
def test_damage_found_on_opening_empties_the_table(path, tables, harm, caplog):
    harm(path)
    with pytest.raises(TableDamaged, match=r"damaged \((Corruption|IO error: No such file)"):
        PartitionTable(path, IDENTITY.of(2), SETTINGS, Cache(1 << 20))
    table = tables.open([2])[2]
    assert table.was_damaged
    assert table.positions == Positions()
    assert list(table.items()) == []
    assert str(path) in caplog.text
    table.write({b"u": b"v"}, Positions(1, 1))
    assert table.get(b"u") == b"v"
    assert [found.name for found in path.parent.iterdir()] == [path.name], "nothing of the old one is left"


@pytest.mark.parametrize(
    "read", [lambda t: [t.get(key) for key in MIDDLE], lambda t: t.get_many(MIDDLE), lambda t: list(t.items())]
)
def test_damage_found_by_a_read_marks_the_table(path, tables, read):
    damage_a_block(path)
    table = tables.open([2])[2]
    assert not table.was_damaged
    assert table.get(b"u399") == VALUES[b"u399"], "the rest can be read"
    with pytest.raises(TableDamaged, match=r"damaged .Corruption: block checksum mismatch.*the next worker that opens"):
        read(table)
    tables.close()
    with pytest.raises(TableDamaged, match="block checksum mismatch"):
        PartitionTable(path, IDENTITY.of(2), SETTINGS, Cache(1 << 20))
    again = tables.open([2])[2]
    assert again.was_damaged
    assert again.positions == Positions()


def test_damage_found_by_a_compaction_fails_writes_and_marks_the_table(path, tables):
    damage_a_block(path)
    table = tables.open([2])[2]
    table.load(VALUES, Positions(399, 500))
    table.flush()  # a second file, so that there is something to compact
    table._db.compact_range(None, None)  # RocksDB compacts on its own sooner or later; writers see the failure
    with pytest.raises(TableDamaged, match="block checksum mismatch"):
        table.write({b"u000": b"v"}, Positions(400, 501))
    tables.close()
    assert tables.open([2])[2].was_damaged


def test_a_healthy_table_is_not_touched(path, tables):
    table = tables.open([2])[2]
    assert not table.was_damaged
    assert table.positions == Positions(399, 500)
    assert dict(table.items()) == VALUES


def test_a_table_in_use_is_rejected_and_not_deleted(path, tables):
    tables.open([2])
    with pytest.raises(LaneError, match="its own data_dir") as refused:
        PartitionTable(path, IDENTITY.of(2), SETTINGS, Cache(1 << 20))
    assert not isinstance(refused.value, TableDamaged)


def test_a_damaged_table_that_another_process_has_open_is_not_deleted(path):
    hold = "import sys; from rocksdict import Options, Rdict; db = Rdict(sys.argv[1], Options(raw_mode=True))"
    script = hold + "; print('open', flush=True); sys.stdin.read(); db.close()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(LaneError, match="open in another process, so it is not deleted"):
            discard(path)
        assert (path / "CURRENT").exists()
        other.stdin.close()
        assert other.wait(10) == 0
    discard(path)
    assert not path.exists()


def test_an_interrupted_deletion_is_finished_later(path, tables):
    path.rename(path.with_name(path.name + ".discarded"))
    assert tables.open([2])[2].positions == Positions()
    tables.close()
    discard(path)
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_not_damage(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LaneError, match="cannot be opened") as refused:
        PartitionTable(tmp_path / "file" / "0.db", b"", SETTINGS, Cache(1 << 20))
    assert not isinstance(refused.value, TableDamaged)
