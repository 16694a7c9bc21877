"""Check and sealing of log folders; and their documentation against the code."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from sidestream.models.data import HeldOutRow, ListenRow, LogFolder, Manifest, training_sequences
from sidestream.models.data.check import check_folder
from sidestream.models.data.checks.repeats import Keys, repeats
from sidestream.models.data.log_folder import TOPIC_FILES
from sidestream.models.data.manifest import Clock, Counts, FileEntry, Split
from sidestream.models.data.quantities import quantity
from sidestream.models.records import CatalogItem, Listen, SessionStart
from sidestream.streams.cli.main import app
from sidestream.streams.contracts.decode import decode_catalog_item, decode_listen, decode_session_start

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


def again(text, **change):
    """The last row once more, changed."""
    row = json.loads(text.splitlines()[-1]) | change
    return text + json.dumps(row) + "\n"


def valid_row(text, **fields):
    """A validation row before the test row."""
    row = {"user_id": "ann", "item_id": "song-1", "role": "valid"} | fields
    return json.dumps(row) + "\n" + text


def with_cuts(text, **cuts):
    return text.replace("leave_one_out", "global_time").replace('"cuts": {}', f'"cuts": {json.dumps(cuts)}')


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
        "events/listens.jsonl",
        lambda t: again(t, at=1767571950000),
        "listens.jsonl:3: expected an event_id that is unique for its user, got 'ann', 'e2' again",
    ),
    (
        "events/sessions.jsonl",
        lambda t: again(t),
        "sessions.jsonl:2: expected user_id, session_id and page that identify one session-start, got 'ann', 's1', 0",
    ),
    ("events/listens.jsonl", lambda t: t.replace("\n", "\r\n"), "listens.jsonl:1: expected LF line ends, got CR LF"),
    ("catalog.jsonl", lambda t: "", "catalog.jsonl: expected one item or more, got an empty file"),
    (
        "events/listens.jsonl",
        lambda t: again(t, event_id="e4", at=1767572100001),
        "listens.jsonl:3: expected no listen of 'ann' after the test row at 1767572100000 (heldout.jsonl:1)",
    ),
    (
        "heldout.jsonl",
        lambda t: t.replace(', "session_id": "s1"', ""),
        "heldout.jsonl:1: expected the session_id of a session-start in events/sessions.jsonl, got none",
    ),
    (
        "events/sessions.jsonl",
        lambda t: t.replace("1767572000000", "1767571800000"),
        "from their last listen at 1767571900000 to the test row at 1767572100000, got it at 1767571800000",
    ),
    (
        "events/sessions.jsonl",
        lambda t: t.replace("1767572000000", "1767572100001"),
        "to the test row at 1767572100000, got it at 1767572100001",
    ),
    (
        "heldout.jsonl",
        lambda t: valid_row(t, item_id="song-1", event_id="e2", at=1767571900000, signal="like"),
        "heldout.jsonl:1: expected the same fields as in events/listens.jsonl:2, got others for 'e2'",
    ),
    (
        "heldout.jsonl",
        lambda t: valid_row(t, event_id="e1", at=1767571300000, listened_ms=90000),
        "heldout.jsonl:1: expected the last play of 'ann' before the test row, got an earlier one ('e1')",
    ),
    (
        "events/sessions.jsonl",
        lambda t: t.replace("10}", '"10"}'),
        'sessions.jsonl:1: expected a row of events/sessions.jsonl (num_candidates: expected a whole number, got "10")',
    ),
    (
        "manifest.json",
        lambda t: re.sub(r'"lines": 2,(\s+"sha)', r'"lines": 3,\1', t, count=1),
        "manifest.json: expected 215 bytes and 2 lines of catalog.jsonl as in the file, got 215 bytes and 3 lines",
    ),
    (
        "manifest.json",
        lambda t: with_cuts(t, valid_from=1767571900000, test_from=1767571800000),
        "manifest.json: expected cuts.valid_from <= cuts.test_from, got 1767571900000 and 1767571800000",
    ),
    (
        "manifest.json",
        lambda t: with_cuts(t, valid_from=1767571000000, test_from=1767572200000),
        "heldout.jsonl:1: expected a test row at or after cuts.test_from 1767572200000, got one at 1767572100000",
    ),
    (
        "manifest.json",
        lambda t: with_cuts(t, valid_from=1767571000000, test_from=1767571500000),
        "listens.jsonl: expected listens before cuts.test_from 1767571500000 (",
    ),
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
    ("manifest.json", lambda t: "{", "manifest.json: expected a manifest of layout 1"),
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


OTHERS = [
    "events/listens.jsonl.gz", "events/listens.json", "events/Listens.JSONL", "listens.jsonl", "events/listens.csv",
]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_rows_under_another_name_are_not_taken_for_an_empty_file(by_hand, other):
    """`log seal` made an empty listens.jsonl beside listens.jsonl.gz, and `log check` called that sound."""
    rows = by_hand / "events" / "listens.jsonl"
    rows.rename(by_hand / other)
    done = run("log", "seal", by_hand)
    assert f"expected the rows in this file, got {other}; decompress or rename it" in str(done.exception)
    assert not rows.exists()
    assert not (by_hand / "manifest.json").exists()
    rows.touch()
    (by_hand / "heldout.jsonl").write_text("")
    for problems in (check_folder(by_hand).problems, [str(run("log", "seal", by_hand).exception)]):
        assert any(f"{other}: expected the rows in events/listens.jsonl" in problem for problem in problems)


def test_another_file_beside_rows_is_no_problem(by_hand):
    (by_hand / "events" / "listens.jsonl.bak").write_text("older")
    assert check_folder(sealed(by_hand)).is_sound


def test_the_same_ids_of_different_users_and_pages_are_no_repeats(by_hand):
    listens, sessions = by_hand / "events" / "listens.jsonl", by_hand / "events" / "sessions.jsonl"
    listens.write_text(again(listens.read_text(), user_id="bob"))
    sessions.write_text(again(again(sessions.read_text(), page=1), user_id="bob"))
    assert check_folder(sealed(by_hand)).problems == []


def test_keys_whose_hashes_are_equal_are_compared_themselves():
    rows = [(1, (-1,)), (2, (-2,)), (3, (0,))]
    assert hash(rows[0][1]) == hash(rows[1][1])
    keys = Keys()
    for _, key in rows:
        keys.add(key)
    assert keys.repeated() == {hash((-1,))}
    assert list(repeats(rows, keys.repeated())) == []
    assert list(repeats([*rows, (4, (-2,))], keys.repeated())) == [(4, (-2,), 2)]


def test_null_in_an_optional_field_means_that_it_is_missing(by_hand):
    """`"signal": null` made every row bad, while `"device": null` was read."""
    catalog, listens, sessions, heldout = (by_hand / name for name in TOPIC_FILES.values())
    plain = [path.read_text() for path in (catalog, listens, sessions, heldout)]
    for path, model in (
        (catalog, CatalogItem), (listens, Listen), (sessions, SessionStart), (heldout, Listen),
    ):  # fmt: skip
        nulls = {name: None for name, field in model.model_fields.items() if not field.is_required()}
        rows = [nulls | json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = LogFolder(sealed(by_hand))
    assert check_folder(by_hand).is_sound
    # What is replayed is a value that workers take.
    found = [(row.topic, json.loads(row.value)) for row in folder.merged(heldout=True)]
    given = [json.loads(line) for text in plain for line in text.splitlines()]
    given[-1].pop("role")
    assert [value for _, value in found] == given
    for topic, value in found:
        text, key = json.dumps(value).encode(), value["item_id" if topic == "catalog" else "user_id"].encode()
        {"catalog": decode_catalog_item, "sessions": decode_session_start}.get(topic, decode_listen)(key, text, -1)


@pytest.mark.parametrize("name", ["event_id", "user_id", "item_id", "at"])
def test_null_in_a_required_field_is_a_problem(by_hand, name):
    path = sealed(by_hand) / "events" / "listens.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text().splitlines()[0]), name: None}) + "\n")
    assert any(f"({name}: expected a value, got none)" in problem for problem in check_folder(by_hand).problems)


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe{\x00", b'{"title": "Bj\xf6"}', b"{'a': 1}", b"[1, 2]", b'{"at": NaN}', b"[" * 5_000, b"7"]
)
def test_no_message_shows_python(by_hand, raw):
    for name in TOPIC_FILES.values():
        (sealed(by_hand) if name == "catalog.jsonl" else by_hand).joinpath(name).write_bytes(raw + b"\n")
    for problem in check_folder(by_hand).problems:
        assert not re.search(r"b['\"]|`(int|str|object|array)`|Input should|\$\.|Traceback", problem), problem
