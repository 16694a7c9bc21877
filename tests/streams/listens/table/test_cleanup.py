"""Local tables of partitions that this worker no longer has: which are deleted, when, and never one that is in use."""

import threading
from pathlib import Path

import pytest

from sidestream.streams.errors import LaneError
from sidestream.streams.listens.settings import LaneSettings, TableSettings
from sidestream.streams.listens.table import upkeep
from sidestream.streams.listens.table.cleanup import TableCleanup, local_tables
from sidestream.streams.listens.table.meta import Positions, TableIdentity
from sidestream.streams.listens.table.upkeep import TableUpkeep
from sidestream.streams.listens.table.users import UserTable
from tests.streams.listens.lane_counts import LaneCounts

IDENTITY = TableIdentity("listens", "changelog", 4)
TABLE = TableSettings(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
LANE = LaneSettings(table_cleanup_s=600, table=TABLE)


class Seconds:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def cleanup(tmp_path: Path, clock: Seconds) -> TableCleanup:
    for name in ("listens/0.db", "listens/1.db", "listens/12.db", "listens/notes", "other/0.db", "listens/2.db.bak"):
        (tmp_path / name).mkdir(parents=True)
    return TableCleanup(tmp_path, "listens", LANE, clock)


def names(paths: list[Path]) -> list[str]:
    return [f"{path.parent.name}/{path.name}" for path in paths]


def test_tables_are_due_once_they_were_unused_for_long_enough(cleanup, clock):
    assert cleanup.due({0, 12}) == []
    clock.now = 599
    assert cleanup.due({0, 12}) == []
    clock.now = 600
    assert names(cleanup.due({0, 12})) == ["listens/1.db", "other/0.db"]


def test_a_partition_that_comes_back_begins_its_time_anew(cleanup, clock):
    cleanup.due({0, 12})
    clock.now = 500
    cleanup.due({0, 1, 12})
    clock.now = 600
    assert names(cleanup.due({0, 12})) == ["other/0.db"]
    clock.now = 1_200
    assert "listens/1.db" in names(cleanup.due({0, 12}))


def test_nothing_is_due_while_the_assignment_is_unknown(cleanup, clock):
    cleanup.due({0})
    clock.now = 10_000
    assert cleanup.due(None) == []
    # A worker that waited for Kafka that long gets its partitions back.
    assert cleanup.due(set()) == []
    clock.now = 10_600
    assert len(cleanup.due(set())) == 4


def test_a_half_deleted_table_counts_as_one(tmp_path):
    (tmp_path / "listens" / "3.db.discarded").mkdir(parents=True)
    assert names(local_tables(tmp_path)) == ["listens/3.db"]
    assert local_tables(tmp_path / "absent") == []


@pytest.fixture
def tables(tmp_path: Path):
    tables = UserTable(tmp_path, IDENTITY, TABLE)
    yield tables
    tables.close()


def test_an_open_table_is_never_deleted(tables):
    table = tables.open([0, 1])[0]
    table.write({b"u": b"x"}, Positions(1, 1))
    assert not tables.remove(table.path)
    assert table.get(b"u") == b"x"
    tables.close([0])
    assert tables.get(0) is None
    assert tables.get(1) is not None
    assert tables.remove(table.path)
    assert not table.path.exists()
    assert tables.remove(table.path), "it is gone"


def test_a_table_that_is_being_opened_is_not_deleted(tables, monkeypatch):
    opening, may_open = threading.Event(), threading.Event()
    open_or_replace = UserTable._open_or_replace

    def slow(self, path, identity):
        table = open_or_replace(self, path, identity)
        opening.set()
        assert may_open.wait(10)
        return table

    monkeypatch.setattr(UserTable, "_open_or_replace", slow)
    opener = threading.Thread(target=tables.open, args=([0],))
    opener.start()
    assert opening.wait(10)
    removed: list[bool] = []
    remover = threading.Thread(target=lambda: removed.append(tables.remove(tables.folder / "listens" / "0.db")))
    remover.start()
    may_open.set()
    opener.join(10)
    remover.join(10)
    assert removed == [False]
    assert tables.get(0) is not None


def test_what_an_interrupted_deletion_left_goes_with_the_next_opening(tables, tmp_path):
    left = tmp_path / "listens" / "0.db.discarded"
    left.mkdir(parents=True)
    (left / "000001.sst").write_bytes(b"secret")
    tables.open([0])
    assert not left.exists()


async def test_upkeep_deletes_and_counts_what_is_due_and_settles_the_rest(tables, clock, monkeypatch):
    settled, counts = [], LaneCounts()
    monkeypatch.setattr(
        "sidestream.streams.listens.table.partition.PartitionTable.settle", lambda table: settled.append(table)
    )
    service = TableUpkeep(tables, lambda: frozenset(tables._open), LANE, counts, clock)
    opened = tables.open([0, 1])
    tables.close([1])
    await service.step()
    clock.now = 600
    await service.step()
    assert opened[0].path.exists()
    assert not opened[1].path.exists()
    assert counts.shown.deleted_tables._value.get() == 1
    assert settled == []
    clock.now = TABLE.purge_s / 3
    await service.step()
    await service.step()
    assert settled == [opened[0]]


async def test_upkeep_goes_on_after_errors(tables, clock, monkeypatch, caplog):
    tables.open([0, 1])
    tables.close([1])
    service = TableUpkeep(tables, lambda: {0}, LANE, LaneCounts(), clock)

    def refuse(*_):
        raise LaneError("locked")

    def fail(_):
        raise Exception("IO error: no space")  # what rocksdict raises

    with monkeypatch.context() as patch:
        patch.setattr(UserTable, "remove", refuse)
        patch.setattr("sidestream.streams.listens.table.partition.PartitionTable.settle", fail)
        await service.step()
        clock.now = TABLE.purge_s
        await service.step()
    assert "cannot be deleted: locked" in caplog.text
    assert "stay for now: IO error" in caplog.text
    await service.step()
    assert not (tables.folder / "listens" / "1.db").exists()


def test_upkeep_looks_often_enough_for_short_times(tables, clock):
    assert TableUpkeep(tables, set, LANE, LaneCounts(), clock)._pause_s == upkeep._LONGEST_PAUSE_S
    short = LaneSettings(table_cleanup_s=2, table=TableSettings(purge_s=3))
    assert TableUpkeep(tables, set, short, LaneCounts(), clock)._pause_s == 0.5
