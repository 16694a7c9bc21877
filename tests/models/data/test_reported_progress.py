"""How far importers, recordings and checks say that they are."""

import json

import pytest

from sidestream.models.data.check import check_folder
from sidestream.models.data.importers.histories import MappedHistory, import_history
from sidestream.models.data.progress import EVERY_ROWS, counted


def test_rows_pass_unchanged_and_are_counted_now_and_then():
    steps = []
    rows = counted(range(2 * EVERY_ROWS + 1), "read", 7, lambda *step: steps.append(step))
    assert list(rows) == list(range(2 * EVERY_ROWS + 1))
    assert steps == [("read", done, 7) for done in (0, EVERY_ROWS, 2 * EVERY_ROWS, 2 * EVERY_ROWS + 1)]


def test_a_loop_that_ends_early_says_no_end():
    def broken():
        yield 1
        raise OSError

    steps = []
    with pytest.raises(OSError):
        list(counted(broken(), "read", 0, lambda *step: steps.append(step)))
    assert steps == [("read", 0, 0)]


def test_each_stage_of_an_import_and_of_a_check_comes_to_its_end(tmp_path):
    rows = [{"user": f"u{n % 3}", "item": f"i{n % 7}", "at": 1_767_571_200 + 60 * n} for n in range(40)]
    (tmp_path / "f").write_text("\n".join(map(json.dumps, rows)))
    steps = []
    import_history(
        MappedHistory(tmp_path / "f", "jsonl"), tmp_path / "log", on_progress=lambda *step: steps.append(step)
    )
    assert steps[0] == ("read plays", 0, 0)
    last = {stage: (done, total) for stage, done, total in steps}
    assert list(last) == ["read plays", "write items", "split", "write rows"]
    assert (last.pop("read plays"), last["split"]) == ((40, 0), (40, 40))
    assert all(done == total for done, total in last.values())
    steps.clear()
    check_folder(tmp_path / "log", lambda *step: steps.append(step))
    last = {stage: (done, total) for stage, done, total in steps}
    assert last["check events/listens.jsonl"] == (37, 37)
    assert len(last) == 4
