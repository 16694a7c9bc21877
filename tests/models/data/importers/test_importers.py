import gzip
import os
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.data.importers import import_amazon18, import_lastfm, import_s3rec
from sidestream.models.data.settings import ImportSettings
from sidestream.models.errors import DataError
from sidestream.models.records.times import UNKNOWN_PUBLISHED_AT
from sidestream.tokenizer.errors import ArtifactError
from tests.models.log_catalogue import catalogue_at

REAL = Path(os.environ.get("SIDESTREAM_TEST_DATA", "shared/data"))


def real(*parts: str) -> Path:
    path = REAL.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no real data at {path}; set SIDESTREAM_TEST_DATA to the folder that holds it")
    return path


def write_lastfm(folder: Path, rows: list[tuple[int, int, int, int, int]]) -> Path:
    """Rows: user, artist, tag, month, year."""
    folder.mkdir(exist_ok=True)
    (folder / "artists.dat").write_bytes("id\tname\turl\n1\tÖne\tu\n2\tTwo  Two\tu\n4\tFour\n".encode())
    (folder / "tags.dat").write_bytes("tagID\ttagValue\r\n1\trock\r\n2\tfrançais\r\n3\tlate\r\n".encode("latin-1"))
    lines = ["userID\tartistID\ttagID\tday\tmonth\tyear"]
    lines += [f"{user}\t{artist}\t{tag}\t1\t{month}\t{year}" for user, artist, tag, month, year in rows]
    (folder / "user_taggedartists.dat").write_text("\r\n".join(lines) + "\r\n")
    return folder


ROWS = [
    (7, 1, 1, 5, 2008),
    (7, 1, 2, 6, 2008),
    (7, 2, 1, 5, 2008),
    (7, 3, 1, 1, 2007),
    (7, 4, 3, 7, 2008),
    (9, 4, 1, 1, 1956),
    (9, 1, 3, 5, 2009),
    (9, 2, 2, 5, 2009),
    (9, 3, 3, 6, 2009),
]
TINY = ImportSettings(min_events=2)


@pytest.mark.parametrize("read", [import_amazon18, import_lastfm, import_s3rec])
def test_a_target_that_cannot_be_made_is_refused_before_the_source_is_read(tmp_path, monkeypatch, read) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(DataError, match="expected a new folder"):
        read(tmp_path / "no such source", tmp_path / "mine")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "log")
    with pytest.raises(ArtifactError, match="got a mount point"):
        read(tmp_path / "no such source", tmp_path / "log")


def test_lastfm_orders_splits_and_names(tmp_path: Path) -> None:
    manifest = import_lastfm(write_lastfm(tmp_path / "raw", ROWS), tmp_path / "log", TINY)
    folder = LogFolder(tmp_path / "log")
    assert manifest == folder.manifest
    assert manifest.events_are == "acts of tagging, not plays"
    assert manifest.clock.kind == "synthetic"
    assert "1 of 9 lines" in manifest.notes[0]
    assert "1 of 4 artists have no name" in manifest.notes[1]
    sequences = training_sequences(folder)
    assert sequences.user_ids == ("user-9", "user-7")
    named = [[sequences.item_ids[row] for row in rows] for rows in sequences.history]
    assert named == [["artist-4", "artist-1", "artist-2"], ["artist-3", "artist-1", "artist-2"]]
    assert [sequences.item_ids[row] for row in sequences.valid] == ["artist-2", "artist-2"]
    assert [sequences.item_ids[row] for row in sequences.test] == ["artist-3", "artist-4"]
    items = catalogue_at(folder)
    assert [items[f"artist-{n}"].title for n in (1, 2, 3, 4)] == ["Öne", "Two Two", "Artist 3", "Four"]
    assert {item.published_at for item in items.values()} == {UNKNOWN_PUBLISHED_AT}
    for start in folder.sessions():
        assert all(listen.at < start.at for listen in folder.listens() if listen.user_id == start.user_id)
        target = next(h for h in folder.heldout() if h.user_id == start.user_id and h.role == "test")
        assert target.at > start.at


def test_lastfm_tags_come_from_training_events_alone(tmp_path: Path) -> None:
    raw = write_lastfm(tmp_path / "raw", ROWS)
    import_lastfm(raw, tmp_path / "log", TINY)
    tags = {key: item.tags for key, item in catalogue_at(LogFolder(tmp_path / "log")).items()}
    # Both rows of the training pair (7, 1) count; pairs (7, 2), (7, 4), (9, 2) and (9, 3) are held out.
    assert tags == {"artist-1": ("rock", "français", "late"), "artist-2": (), "artist-3": ("rock",), "artist-4": ()}
    earlier = ImportSettings(min_events=2, content_until=date(2008, 6, 1))
    manifest = import_lastfm(raw, tmp_path / "log", earlier, overwrite=True)
    tags = {key: item.tags for key, item in catalogue_at(LogFolder(tmp_path / "log")).items()}
    assert tags["artist-1"] == ("rock",)
    assert manifest.cuts == {"content_until": 1_212_278_400_000}


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("user_taggedartists.dat", "7\t2\t1", "7\tx\t1", 4),
        ("user_taggedartists.dat", "\t1\t6\t2008", "\t1\t13\t2008", 3),
        ("user_taggedartists.dat", "userID", "user", 1),
        ("artists.dat", "2\tTwo", "two\tTwo", 3),
        ("tags.dat", "1\trock", "1 rock", 2),
        ("tags.dat", "tagID", "id", 1),
    ],
)
def test_lastfm_damage_names_file_and_line(tmp_path: Path, file: str, old: str, new: str, line: int) -> None:
    raw = write_lastfm(tmp_path / "raw", ROWS)
    content = (raw / file).read_bytes()
    changed = content.replace(old.encode(), new.encode(), 1)
    assert changed != content
    (raw / file).write_bytes(changed)
    with pytest.raises(DataError, match=f"{file}:{line}: expected"):
        import_lastfm(raw, tmp_path / "log", TINY)
    assert not (tmp_path / "log").exists()


def test_lastfm_needs_its_files_and_some_events(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="user_taggedartists"):
        import_lastfm(tmp_path, tmp_path / "log")
    with pytest.raises(DataError, match="5 events, got none"):
        import_lastfm(write_lastfm(tmp_path / "raw", ROWS), tmp_path / "log")


@pytest.mark.data
@pytest.mark.data
def test_lastfm_is_the_published_benchmark(tmp_path: Path) -> None:
    source, published = real("lastfm-hetrec2011"), real("s3rec", "LastFM.txt")
    counts = import_lastfm(source, tmp_path / "log").counts
    assert (counts.listeners, counts.items, counts.listens + counts.heldout_test) == (1_090, 3_646, 52_551)
    sequences = training_sequences(LogFolder(tmp_path / "log"))
    ours = {user: [*rows, last] for user, rows, last in zip(*_columns(sequences), strict=True)}
    theirs = [list(map(int, line.split()[1:])) for line in published.read_text().splitlines()]
    pairs = [(ours[user], line) for user, line in zip(sorted(ours, key=_number), theirs, strict=True)]
    # Ties inside the crawl days of May 2011 swap some positions: which artist is which number is put to the vote.
    votes = Counter((int(row), item) for rows, line in pairs for row, item in zip(rows, line, strict=True))
    numbers: dict[int, int] = {}
    for (row, item), _ in votes.most_common():
        numbers.setdefault(row, item)
    assert len(set(numbers.values())) == 3_646
    assert sum([numbers[int(row)] for row in rows] == line for rows, line in pairs) == 1_016
    assert np.all(sequences.test >= 0)


def _number(user_id):
    return int(user_id.removeprefix("user-"))


def _columns(sequences):
    return sequences.user_ids, sequences.history, sequences.test


def test_s3rec_without_the_optional_files(tmp_path: Path) -> None:
    (tmp_path / "Any.txt").write_text("1 5 6 7 8\n2 5 9\n30 7 7 6\n")
    manifest = import_s3rec(tmp_path / "Any.txt", tmp_path / "log")
    assert (manifest.counts.items, manifest.counts.listeners, manifest.counts.sessions) == (5, 3, 2)
    assert manifest.clock.kind == "synthetic"
    items = catalogue_at(LogFolder(tmp_path / "log"))
    assert {item.published_at for item in items.values()} == {UNKNOWN_PUBLISHED_AT}
    sequences = training_sequences(LogFolder(tmp_path / "log"))
    named = dict(zip(sequences.user_ids, sequences.history, strict=True))
    assert [sequences.item_ids[row] for row in named["user-1"]] == ["item-5", "item-6", "item-7"]
    assert [sequences.item_ids[row] for row in named["user-2"]] == ["item-5", "item-9"]
    last = dict(zip(sequences.user_ids, sequences.test, strict=True))
    assert sequences.item_ids[last["user-1"]] == "item-8"
    assert last["user-2"] == -1


def test_s3rec_takes_words_for_users_and_items_and_files_as_they_come(tmp_path: Path) -> None:
    text = "ann so-1 Zoé so-2\r\n\r\nbob so-2 42 so-1\r\n\r\n"
    (tmp_path / "Any.txt").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    manifest = import_s3rec(tmp_path / "Any.txt", tmp_path / "log")
    assert (manifest.counts.items, manifest.counts.listeners) == (4, 2)
    sequences = training_sequences(LogFolder(tmp_path / "log"))
    assert set(sequences.user_ids) == {"user-ann", "user-bob"}
    assert set(sequences.item_ids) == {"item-so-1", "item-Zoé", "item-so-2", "item-42"}


def test_s3rec_names_and_attributes(tmp_path: Path) -> None:
    (tmp_path / "Any.txt").write_text("1 5 6 7\n")
    (tmp_path / "Any_item2attributes.json").write_text('{"5": [1, 2, 1], "6": [3]}')
    (tmp_path / "Any_item_names.json").write_text(
        '{"id2item": {"5": "Song five", "7": "B004756YJA"}, "id2attribute": {"1": "calm", "2": "loud"}}'
    )
    import_s3rec(tmp_path / "Any.txt", tmp_path / "log")
    items = catalogue_at(LogFolder(tmp_path / "log"))
    assert items["item-5"].title == "Song five"
    assert items["item-5"].tags == ("calm", "loud")
    assert items["item-6"].tags == ("attribute 3",)
    (tmp_path / "Any_item_names.json").write_text('{"id2item": {"5": "B004756YJA", "7": "B004756YJB"}}')
    import_s3rec(tmp_path / "Any.txt", tmp_path / "log", overwrite=True)
    items = catalogue_at(LogFolder(tmp_path / "log"))
    assert set(items) == {"B004756YJA", "item-6", "B004756YJB"}
    assert items["B004756YJA"].title == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1 2 3\n2 x 3\n", 2),
        ("1 2 3\n2\n", 2),
        ("1 2 3\n1 4 5\n", 2),
        ("1 2 -3\n", 1),
        ("1 2 3\n2 3.5 4\n", 2),
        ("", 1),
    ],
)
def test_s3rec_damage_names_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "Any.txt").write_text(text)
    with pytest.raises(DataError, match=rf"Any\.txt:{line}: expected"):
        import_s3rec(tmp_path / "Any.txt", tmp_path / "log")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("Any_item2attributes.json", '{"1":\n [1,}', ":2:"),
        ("Any_item2attributes.json", '{"1": ["a"]}', "attribute numbers for item '1'"),
        ("Any_item2attributes.json", '{"x": [1]}', "a number as key"),
        ("Any_item_names.json", "[]", "a JSON object"),
        ("Any_item_names.json", '{"id2item": {"1": 2}}', "text for '1' in 'id2item'"),
        ("Any_item_names.json", '{"id2item": {"1": "B004756YJA", "2": "B004756YJA"}}', "repeats"),
    ],
)
def test_s3rec_damage_in_the_optional_files(tmp_path: Path, file: str, text: str, words: str) -> None:
    (tmp_path / "Any.txt").write_text("1 1 2 3\n")
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=file) as caught:
        import_s3rec(tmp_path / "Any.txt", tmp_path / "log")
    assert words in str(caught.value)


@pytest.mark.data
@pytest.mark.data
def test_s3rec_beauty_counts(tmp_path: Path) -> None:
    manifest = import_s3rec(real("s3rec", "Beauty.txt"), tmp_path / "log")
    counts = manifest.counts
    assert (counts.listeners, counts.items, counts.listens + counts.heldout_test) == (22_363, 12_101, 198_502)
    folder = LogFolder(tmp_path / "log")
    assert sum(len(item.tags) for item in catalogue_at(folder).values()) > counts.items
    sequences = training_sequences(folder)
    assert (sequences.test >= 0).all()
    assert (sequences.valid >= 0).all()
