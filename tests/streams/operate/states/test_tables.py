"""Local tables by worker: those whose worker does not run can be deleted, the others never."""

from pathlib import Path

import pytest

from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.meta import Positions, TableIdentity
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.operate.states.tables import list_tables
from sidestream.streams.worker.folder import TABLES, idle_folder

IDENTITY = TableIdentity("listens", "changelog", 12)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    worker = tmp_path / "worker"
    folders = [worker / "sidestream", worker / "sidestream@2", worker / "sidestream@3"]
    for folder in folders[:2]:
        tables = UserTable(folder / TABLES, IDENTITY, TableSettings())
        for table in tables.open([2, 11]).values():
            table.write({b"secret-user": b"x"}, Positions(1, 1))
        tables.close()
    return folders


def holding(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and b"secret-user" in path.read_bytes()]


def test_tables_of_workers_that_run_are_listed_and_kept(folders):
    with idle_folder(folders[0]) as is_idle:  # as its worker does
        assert is_idle
        found = list_tables(folders)
        assert [(facts.worker, facts.partition, facts.is_running) for facts in found] == [
            ("sidestream", 2, True),
            ("sidestream", 11, True),
            ("sidestream@2", 2, False),
            ("sidestream@2", 11, False),
        ]
        assert all(facts.size_bytes > 1_000 and facts.changed_at > 1_700_000_000_000 for facts in found)
        assert not any(facts.is_deleted for facts in found)
        deleted = [facts.worker for facts in list_tables(folders, delete_idle=True) if facts.is_deleted]
    assert deleted == ["sidestream@2", "sidestream@2"]
    assert holding(folders[0])
    assert not holding(folders[1])
    assert [facts.worker for facts in list_tables(folders)] == ["sidestream", "sidestream"]
