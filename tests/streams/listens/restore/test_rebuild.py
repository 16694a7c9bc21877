"""When a local table is rebuilt: every offset beside those of its changelog."""

import pytest

from sidestream.streams.listens.restore.rebuild import rebuild_reason, reset
from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.users import UserTable
from tests.streams.listens.lane_scenes import IDENTITY, TABLE

KEPT_MS = 1_000


@pytest.fixture
def table(tmp_path):
    tables = UserTable(tmp_path, IDENTITY, TABLE)
    yield tables.open([0])[0]
    tables.close()


@pytest.mark.parametrize(
    ("last", "begin", "end", "reason"),
    [
        (-1, 5, 9, None),
        (4, 5, 9, None),
        # One record that the table has not was deleted.
        (3, 5, 9, "behind"),
        (0, 5, 9, "behind"),
        (4, 6, 6, "behind"),
        (8, 5, 9, None),
        (9, 5, 9, "ahead"),
        (9, 10, 10, None),
        (10, 10, 10, "ahead"),
    ],
)
def test_a_table_goes_on_only_inside_its_changelog(table, last, begin, end, reason):
    table.write({}, Positions(last, 0))
    assert rebuild_reason(table, begin, end, None) == reason
    if reason is not None:
        reset(table, reason, begin, end)
        assert rebuild_reason(table, begin, end, None) is None


@pytest.mark.parametrize(
    ("age_ms", "end", "reason"), [(KEPT_MS, 9, "old"), (KEPT_MS - 1, 9, None), (KEPT_MS, 5, None), (None, 9, None)]
)
def test_a_table_that_may_have_missed_tombstones_is_rebuilt(table, monkeypatch, age_ms, end, reason):
    table.write({}, Positions(4, 0))
    monkeypatch.setattr(type(table), "age_ms", lambda _: age_ms)
    assert rebuild_reason(table, 0, end, KEPT_MS) == reason
    assert rebuild_reason(table, 0, end, None) is None
