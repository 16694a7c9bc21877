"""Values of options are bounded where they are given: no NaN, nothing negative or empty where that means nothing."""

import json

import pytest


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["tail", "candidates.v1", "--idle-s", "-1"], "--idle-s"),
        (["tail", "candidates.v1", "--idle-s", "nan"], "--idle-s"),
        (["tail", "candidates.v1", "--idle-s", "inf"], "expected a finite number, got inf"),
        (["tail", "candidates.v1", "-n", "0"], "-n"),
        (["catalogue", "reconcile", "x", "--max-removed", "nan"], "--max-removed"),
        (["tokenizer", "retire", "x", "--timeout", "inf"], "expected a finite number"),
        (["tokenizer", "train", "x", "y", "--seed", "-1"], "--seed"),
        (["evaluate", "x", "y", "--listeners", "0"], "--listeners"),
        (["up", "--workers", "0"], "--workers"),
        (["log", "seal", "x", "--name", " "], "visible character"),
        (["log", "seal", "x", "--events-are", ""], "visible character"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_out_of_bounds_is_a_mistake_of_the_line(sidestream, args, words):
    done = sidestream(*args, code=2)
    assert words in " ".join(done.err.replace("│", "").split())


@pytest.mark.parametrize(
    "cut", ["x=1767571200000", "valid_from=1", "test_from=1767571200", "valid_from=" + "9" * 5_000, "valid_from=-1"]
)
def test_a_cut_is_a_time_of_events(sidestream, tmp_path, cut):
    (tmp_path / "log").mkdir()
    row = {"item_id": "a", "kind": "track", "at": 1767571200000}
    (tmp_path / "log" / "catalog.jsonl").write_text(json.dumps(row) + "\n")
    assert f"--cut {cut[:20]}" in sidestream("log", "seal", "log", "--cut", cut, code=1).err
    assert not (tmp_path / "log" / "manifest.json").exists()
