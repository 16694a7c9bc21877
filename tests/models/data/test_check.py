"""Check and sealing of log folders; and their documentation against the code."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from sidestream.models.data import HeldOutRow, ListenRow, LogFolder, Manifest, training_sequences
from sidestream.models.data.check import check_folder
from sidestream.models.data.manifest import Clock, Counts, FileEntry, Split
from sidestream.models.data.quantities import quantity
from sidestream.models.records import CatalogItem, SessionStart
from sidestream.streams.cli.main import app

PAGE = (Path(__file__).resolve().parents[3] / "models" / "data" / "README.md").read_text()
EXAMPLE = re.search(r"<!-- example -->\n```\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture
def by_hand(tmp_path):
    """The example of the documentation, not yet sealed."""
    name = None
    for line in EXAMPLE.splitlines():
        if line.startswith("$ cat log/"):
            name = tmp_path / "log" / line.removeprefix("$ cat log/")
            name.parent.mkdir(parents=True, exist_ok=True)
        elif not line.startswith("$"):
            with name.open("a") as stream:
                stream.write(line + "\n")
    return tmp_path / "log"


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def sealed(folder):
    done = run("log", "seal", folder, "--split", "leave_one_out")
    assert done.exit_code == 0, done.output
    return folder


def test_the_example_of_the_page_becomes_a_sound_folder(by_hand, monkeypatch):
    assert sum(line.startswith("{") for line in EXAMPLE.splitlines()) == 6
    assert not check_folder(by_hand).is_sound
    monkeypatch.chdir(by_hand.parent)
    for line in EXAMPLE.splitlines():
        if line.startswith("$ sidestream "):
            done = run(*line.split()[2:])
            assert done.exit_code == 0, done.output
    folder = LogFolder(by_hand)
    folder.verify()
    assert folder.manifest.counts.heldout_test == 1
    assert len(list(folder.merged(heldout=True))) == 6


def fields_of(name):
    block = re.search(rf"<!-- fields: {name} -->\n(.*?)<!-- /fields -->", PAGE, re.DOTALL)[1]
    return {row.split("|")[1].strip(): row for row in block.splitlines()[2:]}


def named(cells):
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def required(model):
    return {name for name, field in model.model_fields.items() if field.is_required()}


@pytest.mark.parametrize(
    ("name", "fields", "needed"),
    [
        ("catalog", {*CatalogItem.model_fields, "removed"}, required(CatalogItem)),
        ("listens", set(ListenRow.__struct_fields__), {"event_id", "user_id", "item_id", "at"}),
        ("sessions", set(SessionStart.model_fields), required(SessionStart)),
        ("heldout", set(HeldOutRow.__struct_fields__) - set(ListenRow.__struct_fields__), {"role"}),
    ],
)
def test_the_page_names_every_field_of_a_row_and_no_other(name, fields, needed):
    rows = fields_of(name)
    assert named(rows) == fields
    assert named(cell for cell, row in rows.items() if row.split("|")[2].strip() == "yes") == needed


def test_the_page_names_every_key_of_the_manifest_and_no_other():
    rows = fields_of("manifest")
    assert named(rows) == set(Manifest.model_fields)
    inner: dict[str, type[BaseModel]] = {"clock": Clock, "split": Split, "counts": Counts, "files": FileEntry}
    for key, model in inner.items():
        (row,) = [row for cell, row in rows.items() if f"`{key}`" in cell]
        assert set(model.model_fields) <= named([row]), key


def test_the_page_names_every_split_and_every_file():
    protocols = Split.model_fields["protocol"].annotation.__args__
    table = PAGE[PAGE.index("## Splits") :]
    assert re.findall(r"^\| `(\w+)` \| `(\w+)`", table, re.MULTILINE) == list(
        zip(protocols, ("none", "last", "session", "time"), strict=True)
    )


DAMAGE = [
    ("catalog.jsonl", lambda t: "\ufeff" + t, "catalog.jsonl:1: expected a row of catalog.jsonl, got a BOM"),
    ("catalog.jsonl", lambda t: t.replace('"track"', '"song"'), "catalog.jsonl:1: expected a row of catalog.jsonl"),
    (
        "catalog.jsonl",
        lambda t: t + '{"item_id":"x","at":1767571300000,"removed":true}\n',
        "catalog.jsonl:3: expected an item to",
    ),
    (
        "events/listens.jsonl",
        lambda t: t.replace("ep-1", "ep-2"),
        "listens.jsonl:2: expected an item of catalog.jsonl, got 'ep-2'",
    ),
    (
        "events/listens.jsonl",
        lambda t: t.replace("1767571900000", "1767571200000"),
        "listens.jsonl:2: expected `at` >= 1767571300000",
    ),
    (
        "events/listens.jsonl",
        lambda t: t.replace("\n", "\n\n", 1),
        "listens.jsonl:2: expected a row of events/listens.jsonl, got an empty",
    ),
    ("events/listens.jsonl", lambda t: t[:-1], "listens.jsonl:2: expected a line end"),
    (
        "events/listens.jsonl",
        lambda t: t.replace("e2", "e3"),
        "listens.jsonl:2: expected test events in heldout.jsonl alone",
    ),
    ("events/sessions.jsonl", lambda t: t.replace("s1", "s2"), "heldout.jsonl:1: expected session 's1' of 'ann'"),
    (
        "heldout.jsonl",
        lambda t: t.replace('"test"', '"valid"'),
        "heldout.jsonl:1: expected that a validation row repeats",
    ),
    (
        "heldout.jsonl",
        lambda t: t + t.replace("e3", "e4"),
        "heldout.jsonl:2: expected one test row of 'ann', got a second one",
    ),
    (
        "heldout.jsonl",
        lambda t: t.replace('"role"', '"signal": "dislike", "role"'),
        "heldout.jsonl:1: expected a positive signal of a held-out listen, got dislike",
    ),
    ("heldout.jsonl", lambda t: "", "manifest.json: expected test rows in heldout.jsonl for split leave_one_out"),
    (
        "manifest.json",
        lambda t: t.replace('"listens": 2', '"listens": 3'),
        "manifest.json: expected counts.listens 2 as in the rows, got 3",
    ),
    (
        "manifest.json",
        lambda t: t.replace('"last_at": 17', '"last_at": 18'),
        "manifest.json: expected last_at 1767572100000 as in the rows",
    ),
    (
        "manifest.json",
        lambda t: t.replace("leave_one_out", "global_time"),
        "manifest.json: expected cuts.valid_from for split global_time",
    ),
    ("manifest.json", lambda t: t.replace("leave_one_out", "none"), "manifest.json: expected a split other than none"),
    ("manifest.json", lambda t: t.replace('"real"', '"wrong"'), "clock.kind"),
    ("manifest.json", lambda t: "{", "manifest.json: expected layout 1"),
]


@pytest.mark.parametrize(("name", "change", "words"), DAMAGE)
def test_every_problem_is_named_with_file_and_line(by_hand, name, change, words):
    path = sealed(by_hand) / name
    before = path.read_text()
    assert change(before) != before
    path.write_text(change(before))
    done = run("log", "check", by_hand, "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["is_sound"]) == (1, False)
    assert any(words in problem for problem in found["problems"]), found["problems"]
    printed = run("log", "check", by_hand, "--no-json")
    assert (printed.exit_code, quantity(found["num_problems"], "problem") in printed.stderr) == (1, True)


@pytest.mark.parametrize("signal", ["skip", "dislike"])
def test_check_counts_the_targets_that_the_reader_asks_for(by_hand, signal):
    path = sealed(by_hand) / "heldout.jsonl"
    row = json.loads(path.read_text())
    path.write_text(f"{json.dumps({**row, 'signal': signal})}\n")
    assert check_folder(by_hand).counts.heldout_test == 0
    assert training_sequences(LogFolder(by_hand)).test.tolist() == [-1]


def test_one_problem_is_no_problems(by_hand):
    path = sealed(by_hand) / "manifest.json"
    path.write_text(path.read_text().replace('"listens": 2', '"listens": 3'))
    assert "\n1 problem\n" in run("log", "check", by_hand, "--no-json").stderr


def test_a_missing_file_and_folder_are_problems_not_errors(by_hand):
    (sealed(by_hand) / "events" / "sessions.jsonl").unlink()
    assert any("sessions.jsonl: expected a file of rows" in what for what in check_folder(by_hand).problems)
    assert "log seal" in check_folder(by_hand / "absent").problems[0]


def test_many_problems_are_counted_and_some_named(by_hand):
    path = sealed(by_hand) / "events" / "listens.jsonl"
    path.write_text("nonsense\n" * 5_000)
    found = check_folder(by_hand)
    assert (len(found.problems), found.num_problems > 5_000) == (100, True)


def test_a_valid_folder_is_printed_as_a_table(by_hand):
    done = run("log", "check", sealed(by_hand), "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["is_sound"], found["counts"]["listens"]) == (0, True, 2)
    assert found["files"][0] == {
        "file": "catalog.jsonl", "rows": 2, "bytes": (by_hand / "catalog.jsonl").stat().st_size,
        "first_at": 1767571200000, "last_at": 1767571200000,
    }  # fmt: skip
    printed = run("log", "check", by_hand, "--no-json")
    assert printed.exit_code == 0
    assert "events/listens.jsonl" in printed.stdout
    assert "0 problems" in printed.stderr


def test_a_folder_whose_replacement_was_interrupted_is_sealed_all_the_same(by_hand):
    by_hand.rename(by_hand.with_name(".log.old"))
    assert check_folder(sealed(by_hand)).is_sound


def test_rows_that_are_wrong_are_not_sealed(by_hand):
    done = run("log", "seal", by_hand, "--split", "none")
    assert "expected a split other than none" in str(done.exception)
    done = run("log", "seal", by_hand, "--split", "global_time", "--cut", "test_from=x")
    assert "--cut test_from=x: expected NAME=MS" in str(done.exception)
    assert not (by_hand / "manifest.json").exists()
    (by_hand / "catalog.jsonl").unlink()
    assert "expected the items" in str(run("log", "seal", by_hand).exception)
