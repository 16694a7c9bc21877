import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.data.importers import import_amazon18
from sidestream.models.data.importers.amazon18_files import plain_text
from sidestream.models.data.settings import ImportSettings
from sidestream.models.errors import DataError
from sidestream.models.records.times import UNKNOWN_PUBLISHED_AT
from sidestream.streams.cli.main import app
from tests.models.log_catalogue import catalogue_at

AT = 1_700_000_000_000
REAL = Path(os.environ.get("SIDESTREAM_TEST_DATA", "shared/data")) / "amazon18-office"
ITEMS = {
    "0": ("HP 74 Black &amp; Tri-color", "HP", "['Ink <b>cartridge</b>.', ' <!-- .a {color:red} --> ', '']"),
    "1": ("Shredder", "", ""),
    "2": ("Pens", "BIC", '["Elmer\\\'s 3/16" tip."]'),
    "3": ("Paper", "Astrobrights", "['Bright paper']"),
    "10": ("Labels", "Avery", "['CD labels']"),
}
# A1 is in both files; B's and C's histories of one review have no known time.
VALID = [("A1", [0, 1], 2), ("B", [3], 1), ("A1", [0, 1, 2], 3)]
TEST = [("C", [2], 0), ("A1", [1, 2, 3], 10), ("C", [2, 0], 3)]


def write_office(folder: Path, valid=VALID, test=TEST) -> Path:
    folder.mkdir(exist_ok=True)
    items = {key: dict(zip(("title", "brand", "description"), words, strict=True)) for key, words in ITEMS.items()}
    (folder / "item.json").write_text(json.dumps(items))
    for name, windows in (("valid", valid), ("test", test)):
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["user_id", "history_item_title", "item_title", "history_item_id", "item_id"])
            writer.writerows((user, "[...]", "…", str(history), item) for user, history, item in windows)
    return folder


def named(sequences, rows):
    return [sequences.item_ids[row] if row >= 0 else None for row in rows]


def test_windows_become_sequences_cut_by_global_time(tmp_path: Path) -> None:
    manifest = import_amazon18(write_office(tmp_path / "raw"), tmp_path / "log")
    folder = LogFolder(tmp_path / "log")
    assert folder.manifest == manifest
    assert (manifest.split.protocol, manifest.clock.kind) == ("global_time", "synthetic")
    assert manifest.events_are == "product reviews, not plays"
    assert (manifest.counts.items, manifest.counts.listens, manifest.counts.heldout_test) == (5, 7, 2)
    assert "1 of 3 targets of test.csv come after" in manifest.notes[1]
    assert manifest.notes[2].startswith("2 listeners")
    sequences = training_sequences(folder)
    place = {user: row for row, user in enumerate(sequences.user_ids)}
    one = place["user-A1"]
    assert named(sequences, sequences.train[one]) == ["item-0", "item-1"]
    assert named(sequences, sequences.history[one]) == ["item-0", "item-1", "item-2", "item-3"]
    assert named(sequences, sequences.valid[[one]]) == ["item-2"]
    assert named(sequences, sequences.test[[one, place["user-C"]]]) == ["item-10", "item-0"]
    assert sequences.test[place["user-B"]] == -1


def test_nothing_that_a_training_sees_is_later_than_a_target(tmp_path: Path) -> None:
    manifest = import_amazon18(
        write_office(tmp_path / "raw"), tmp_path / "log", ImportSettings(clock_start_at=AT, clock_days=10)
    )
    folder = LogFolder(tmp_path / "log")
    valid_from, test_from = manifest.cuts["valid_from"], manifest.cuts["test_from"]
    assert (valid_from, test_from) == (AT + 1_000 + 8 * 86_400_000, AT + 1_000 + 9 * 86_400_000)
    held = {role: [row for row in folder.heldout() if row.role == role] for role in ("valid", "test")}
    assert all(valid_from <= row.at < test_from for row in held["valid"])
    assert all(test_from < row.at for row in held["test"])
    assert all(start.at >= test_from for start in folder.sessions())
    assert all(listen.at < test_from for listen in folder.listens())
    trained = sum(listen.at < valid_from for listen in folder.listens())
    assert trained == sum(len(rows) for rows in training_sequences(folder).train)


def test_items_keep_their_words_without_markup(tmp_path: Path) -> None:
    import_amazon18(write_office(tmp_path / "raw"), tmp_path / "log")
    items = catalogue_at(LogFolder(tmp_path / "log"))
    assert list(items) == ["item-0", "item-1", "item-2", "item-3", "item-10"]
    assert (items["item-0"].title, items["item-0"].creator) == ("HP 74 Black & Tri-color", "HP")
    assert items["item-0"].description == "Ink cartridge ."
    assert {item.published_at for item in items.values()} == {UNKNOWN_PUBLISHED_AT}
    assert (items["item-1"].creator, items["item-1"].description) == (None, "")
    # The quotes of this description do not pair up, as in a few published ones.
    assert items["item-2"].description == "Elmer's 3/16\" tip."
    assert plain_text("a < b and c > d, 8.5&rdquo;") == "a < b and c > d, 8.5”"


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("valid.csv", "[0, 1]", "[0, x]", "valid.csv:2: expected history_item_id as a list"),
        ("valid.csv", "[0, 1]", "[]", "valid.csv:2: expected at least one item number"),
        ("valid.csv", ",[3],1", ",[3],99", "valid.csv:3: expected items of item.json, got 99"),
        ("valid.csv", "B,", ",", "valid.csv:3: expected a user_id"),
        ("valid.csv", '"[0, 1, 2]"', '"[1, 1, 2]"', "valid.csv:4: expected a history of A1 that ends with"),
        ("test.csv", "user_id", "user", "test.csv:1: expected a column user_id"),
        ("item.json", '"title": "Pens", ', "", "expected title, brand and description as texts for item '2'"),
        ("item.json", '"10"', '"ten"', "expected item numbers as keys, got 'ten'"),
        ("item.json", "{", "", "item.json: expected a readable JSON file"),
    ],
)
def test_damage_names_file_and_line(tmp_path: Path, file: str, old: str, new: str, words: str) -> None:
    raw = write_office(tmp_path / "raw")
    content = (raw / file).read_text()
    changed = content.replace(old, new, 1)
    assert changed != content
    (raw / file).write_text(changed)
    with pytest.raises(DataError) as caught:
        import_amazon18(raw, tmp_path / "log")
    assert words in str(caught.value)
    assert not (tmp_path / "log").exists()


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"item\.json"):
        import_amazon18(tmp_path, tmp_path / "log")
    with pytest.raises(DataError, match=r"test\.csv:2: expected windows"):
        import_amazon18(write_office(tmp_path / "raw", test=[]), tmp_path / "log")
    (tmp_path / "raw" / "test.csv").write_bytes(b"user_id,history_item_id,item_id\n\xff,[1],1\n")
    with pytest.raises(DataError, match="UTF-8"):
        import_amazon18(tmp_path / "raw", tmp_path / "log")


def test_the_command_imports(tmp_path: Path) -> None:
    raw = write_office(tmp_path / "raw")
    found = CliRunner().invoke(app, ["import", "amazon18", str(raw), str(tmp_path / "log"), "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["split"].startswith("global_time")


@pytest.mark.data
def test_office_is_the_published_data(tmp_path: Path) -> None:
    if not REAL.exists():
        pytest.skip(f"no real data at {REAL}; set SIDESTREAM_TEST_DATA to the folder that holds it")
    counts = import_amazon18(REAL, tmp_path / "log").counts
    assert (counts.items, counts.listeners, counts.heldout_test, counts.heldout_valid) == (3_459, 3_231, 2_024, 1_795)
    sequences = training_sequences(LogFolder(tmp_path / "log"))
    # 12,715 reviews before the first validation row; 4,866 targets of valid.csv.
    assert sum(map(len, sequences.train)) == 12_715
    assert sum(map(len, sequences.history)) == 12_715 + 4_866
    assert np.count_nonzero(sequences.test >= 0) == 2_024
