"""`sidestream state tables`: what lies on this disk of users, and the deletion of what no worker uses."""

import json
from pathlib import Path

import pytest

from sidestream.streams.listens.settings import TableSettings
from sidestream.streams.listens.table.meta import Positions, TableIdentity
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.worker.folder import TABLES, idle_folder


@pytest.fixture
def var(tmp_path: Path) -> Path:
    for name in ("sidestream", "sidestream@2"):
        folder = tmp_path / "var" / "worker" / name / TABLES
        tables = UserTable(folder, TableIdentity("listens", "changelog", 4), TableSettings())
        tables.open([1])[1].write({b"secret-user": b"x"}, Positions(1, 1))
        tables.close()
    return tmp_path / "var"


def test_folders_without_a_worker_are_named_and_can_be_emptied(sidestream, var):
    options = ["--data-dir", str(var), "state", "tables", "--json"]
    with idle_folder(var / "worker" / "sidestream"):  # as its worker does
        done = sidestream(*options)
        assert [(row["worker"], row["is_running"]) for row in json.loads(done.out)] == [
            ("sidestream", True),
            ("sidestream@2", False),
        ]
        assert "no worker runs in sidestream@2: users who are erased from now on stay there" in done.err
        done = sidestream(*options, "--delete")
        assert [row["is_deleted"] for row in json.loads(done.out)] == [False, True]
        assert done.err == ""
        (left,) = json.loads(sidestream(*options).out)
    assert left["worker"] == "sidestream"
    files = [path for path in var.rglob("*") if path.is_file() and b"secret-user" in path.read_bytes()]
    assert all("sidestream@2" not in str(file) for file in files)


def test_without_tables_the_list_is_empty(sidestream, tmp_path):
    assert json.loads(sidestream("--data-dir", str(tmp_path / "var"), "state", "tables", "--json").out) == []
