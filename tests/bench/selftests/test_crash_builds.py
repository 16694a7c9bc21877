"""Broken builds and faults of the crash matrix fit the parts that they change: each is put into this process."""

from types import SimpleNamespace

import pytest

from sidestream.models.history import erase_all, fold
from sidestream.streams.kafka.read_rules import Place
from sidestream.streams.listens.restore.followed import FollowedTable
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.worker import build
from tests.bench.matrix.builds import BROKEN, counts, lane, sessions
from tests.bench.matrix.faults import Fault, clients


@pytest.fixture(autouse=True)
def undone(monkeypatch):
    """Take every change of a class or of the worker's module back."""
    monkeypatch.setattr(build, "Clients", build.Clients)
    modules = (counts, lane, sessions, clients)
    owners = {owner for module in modules for owner in vars(module).values() if isinstance(owner, type)}
    before = {owner: dict(vars(owner)) for owner in owners}
    yield
    for owner, attributes in before.items():
        for name, value in dict(vars(owner)).items():
            if name not in attributes:
                delattr(owner, name)
            elif value is not attributes[name]:
                setattr(owner, name, attributes[name])


@pytest.mark.parametrize("name", BROKEN)
def test_broken_build_fits_what_it_breaks(name):
    BROKEN[name].install()


def test_faults_fit_the_parts_that_they_watch():
    clients.install(Fault())
    assert build.Clients is clients.FaultyClients


async def test_restore_that_keeps_erased_users_leaves_removals_out():
    lane.restore_keeps_erased()
    loaded = {}
    table = SimpleNamespace(positions=Positions(), load=lambda values, positions: loaded.update(values))
    followed = FollowedTable(Place("changelog", 0), table, 0, 0, 3, 0.0)
    kept, erased = fold(None, (), lambda key: None).state, erase_all(None, {}, 1_750_000_000_000).state
    values = {b"kept": kept, b"erased": erased, b"removed": None}
    records = [
        SimpleNamespace(partition=0, offset=offset, key=key, value=value)
        for offset, (key, value) in enumerate(values.items())
    ]
    await followed.write(records, SimpleNamespace(restored=lambda count: None))
    await followed.end_bulk()
    assert followed.failure is None
    assert loaded == {b"kept": kept}
