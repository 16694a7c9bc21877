import dataclasses
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.models.data import (
    Cursor,
    FolderFacts,
    HeldOutRow,
    ListenRow,
    LogFolder,
    LogFolderWriter,
    training_sequences,
)
from sidestream.models.data.manifest import Clock, Split
from sidestream.models.data.rows import RowError, decode_listen, encode_row
from sidestream.models.errors import DataError
from sidestream.models.records import CatalogItem, Listen, SessionStart
from sidestream.models.records.times import EARLIEST_EVENT_AT, LATEST_AT
from sidestream.models.world import WorldSettings, generate_world
from tests.models.log_catalogue import catalogue_at
from tests.tokenizer.kill_points import FOLDERS, check_every_kill

T = 1_700_000_000_000
FACTS = FolderFacts(
    name="tiny",
    source="made by hand",
    licence="none",
    events_are="listens",
    clock=Clock(kind="synthetic", statement="counts"),
    split=Split(protocol="leave_one_out", statement="last"),
)


def item(item_id: str, at: int, expires_at: int | None = None) -> CatalogItem:
    return CatalogItem(item_id=item_id, kind="track", title=item_id.title(), at=at, expires_at=expires_at)


def write_tiny(path: Path) -> LogFolder:
    with LogFolderWriter(path) as writer:
        writer.item(item("a", T + 10))
        writer.item(item("b", T + 10))
        writer.item(item("live", T + 15, expires_at=T + 25))
        writer.removal("b", T + 30)
        writer.listen(ListenRow("e1", "u", "a", T + 10, listened_ms=5))
        writer.listen(ListenRow("e2", "u", "b", T + 20))
        writer.listen(ListenRow("e3", "v", "a", T + 20))
        writer.listen(ListenRow("e4", "u", "a", T + 30))
        writer.heldout(HeldOutRow("e4", "u", "a", T + 30, role="valid"))
        writer.session(SessionStart(session_id="s", user_id="u", at=T + 20))
        writer.session(SessionStart(session_id="w", user_id="w", at=T + 30))
        writer.heldout(HeldOutRow("e5", "u", "b", T + 31, role="test"))
        writer.heldout(HeldOutRow("e6", "w", "a", T + 32, role="test"))
        writer.finish(FACTS)
    return LogFolder(path)


def test_round_trip_counts_and_order(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "log")
    folder.verify()
    counts = folder.manifest.counts
    assert (counts.items, counts.removals, counts.listens, counts.sessions) == (3, 1, 4, 2)
    assert (counts.listeners, counts.heldout_test, counts.heldout_valid) == (3, 2, 1)
    assert (folder.manifest.first_at, folder.manifest.last_at) == (T + 10, T + 32)
    order = [(row.topic, row.at, row.key) for row in folder.merged()]
    assert order == [
        ("catalog", T + 10, "a"),
        ("catalog", T + 10, "b"),
        ("listens", T + 10, "u"),
        ("catalog", T + 15, "live"),
        ("listens", T + 20, "u"),
        ("listens", T + 20, "v"),
        ("sessions", T + 20, "u"),
        ("catalog", T + 30, "b"),
        ("listens", T + 30, "u"),
        ("sessions", T + 30, "w"),
    ]
    removal = next(row for row in folder.merged() if row.at == T + 30)
    assert removal.value is None
    listen = next(row for row in folder.merged() if row.topic == "listens")
    assert Listen.from_json(listen.value or b"").listened_ms == 5
    assert not list(tmp_path.glob(".*"))


def test_catalogue_at_leaves_out_what_is_gone(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "log")
    assert set(catalogue_at(folder, T + 20)) == {"a", "b", "live"}
    assert set(catalogue_at(folder, T + 25)) == {"a", "b"}
    assert set(catalogue_at(folder, T + 30)) == {"a"}


def test_sequences_cut_at_the_validation_event(tmp_path: Path) -> None:
    sequences = training_sequences(write_tiny(tmp_path / "log"))
    assert sequences.item_ids == ("a", "b", "live")
    assert sequences.user_ids == ("u", "v", "w")
    assert [rows.tolist() for rows in sequences.train] == [[0, 1], [0], []]
    assert [rows.tolist() for rows in sequences.history] == [[0, 1, 0], [0], []]
    assert sequences.valid.tolist() == [0, -1, -1]
    assert sequences.test.tolist() == [1, -1, 0]


@pytest.mark.parametrize("stop", range(11))
def test_reading_resumes_where_it_stopped(tmp_path: Path, stop: int) -> None:
    folder = write_tiny(tmp_path / "log")
    cursor, rows = Cursor(), list(folder.merged())
    for row in rows[:stop]:
        cursor.advance(row)
    again = Cursor.from_json(cursor.to_json())
    assert again.rows == stop
    assert list(folder.merged(again)) == rows[stop:]


def test_a_position_of_another_folder_is_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "log")
    with pytest.raises(DataError, match="another folder"):
        list(folder.merged(Cursor({"listens": (1, 7)})))
    with pytest.raises(DataError, match="another folder"):
        list(folder.merged(Cursor({"listens": (1, 70_000)})))


DAMAGE = {
    "cut": (lambda text: text[:-4], 4, "a line end"),
    "not json": (lambda text: text.replace('{"event_id":"e2"', '{"event_id":', 1), 2, "malformed"),
    "wrong type": (
        lambda text: text.replace(f'"at":{T + 10}', f'"at":"{T + 10}"', 1),
        1,
        'at: expected a whole number, got "',
    ),
    "missing": (lambda text: text.replace('"user_id":"v",', "", 1), 3, "user_id"),
    "unsorted": (lambda text: text.replace(f'"at":{T + 20}', f'"at":{T + 9}', 1), 2, f"`at` >= {T + 10}"),
    "empty line": (lambda text: text.replace("\n", "\n\n", 1), 2, "an empty line"),
    "bad bytes": (lambda text: text.replace('"v"', '"\udcff"', 1), 3, "utf-8"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_names_file_and_line(tmp_path: Path, case: str) -> None:
    folder = write_tiny(tmp_path / "log")
    path = folder.path / "events/listens.jsonl"
    change, line, words = DAMAGE[case]
    before = path.read_text()
    after = change(before)
    assert after != before
    path.write_bytes(after.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        list(folder.merged())
    assert f"listens.jsonl:{line}: expected" in str(caught.value)
    assert words.lower() in str(caught.value).lower()
    with pytest.raises(DataError, match="sha256"):
        folder.verify()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("catalog.jsonl", '"track"', '"song"'), ("events/sessions.jsonl", '"s"', "1"), ("heldout.jsonl", "valid", "v")],
)
def test_damage_in_the_other_files(tmp_path: Path, name: str, old: str, new: str) -> None:
    folder = write_tiny(tmp_path / "log")
    path = folder.path / name
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=f"{name}:1: expected"):
        list(folder.heldout()), list(folder.merged())


def test_an_unknown_item_is_named(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "log")
    path = folder.path / "events/listens.jsonl"
    path.write_text(path.read_text().replace('"item_id":"b"', '"item_id":"c"'))
    with pytest.raises(DataError, match=r"listens\.jsonl:2: expected an item of catalog\.jsonl, got 'c'"):
        training_sequences(folder)


def test_writer_refuses_disorder_and_foreign_folders(tmp_path: Path) -> None:
    with LogFolderWriter(tmp_path / "log") as writer:
        writer.listen(ListenRow("e1", "u", "a", T + 10))
        with pytest.raises(DataError, match=r"listens\.jsonl:2"):
            writer.listen(ListenRow("e2", "u", "a", T + 9))
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    with pytest.raises(DataError, match="existing folder of another kind"):
        LogFolderWriter(tmp_path / "mine", overwrite=True)
    write_tiny(tmp_path / "log")
    with pytest.raises(DataError, match="got an existing folder"):
        LogFolderWriter(tmp_path / "log")
    with LogFolderWriter(tmp_path / "log", overwrite=True) as writer:
        writer.finish(FACTS)
    assert LogFolder(tmp_path / "log").manifest.counts.items == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "mine"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_nothing_is_left_of_a_folder_that_is_broken_off(tmp_path: Path, monkeypatch, error) -> None:
    """`world` left its hidden folder where a full disk refused the rows that were still waiting."""

    def refuse(*_: object) -> None:
        raise error

    def write() -> None:
        with LogFolderWriter(tmp_path / "w") as writer:
            writer.item(item("a", T))
            (writer.scratch / "file").touch()
            monkeypatch.setattr("sidestream.models.data.writer._Sink._flush", refuse)
            writer.finish(FACTS)

    with pytest.raises((KeyboardInterrupt, OSError)):
        write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_is_left_of_a_world_that_is_broken_off(tmp_path: Path, monkeypatch, error) -> None:
    def progress(done: int, _: int) -> None:
        if done == 2:
            raise error

    with pytest.raises(error):
        generate_world(tmp_path / "w", WorldSettings(listeners=10, days=3), progress=progress)
    assert not list(tmp_path.iterdir())


def test_a_manifest_may_have_a_bom_and_foreign_rows_say_what_they_are(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "log").path
    manifest = path / "manifest.json"
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes())
    listens = path / "events/listens.jsonl"
    content = listens.read_bytes()
    for data, cause in (
        (b"\xef\xbb\xbf" + content, "got a BOM before it"),
        (gzip.compress(content), "got a gzip file"),
    ):
        listens.write_bytes(data)
        with pytest.raises(DataError, match=rf"listens\.jsonl:1: .*{cause}"):
            list(LogFolder(path).listens())


def test_a_folder_inside_that_is_no_part_of_the_log_is_carried(tmp_path: Path) -> None:
    (tmp_path / "log" / "extra").mkdir(parents=True)
    for _ in range(2):
        with LogFolderWriter(tmp_path / "log", overwrite=True, extra="extra") as writer:
            (writer.extra_folder / "file").write_text("kept")
            writer.finish(FACTS)
        assert (tmp_path / "log" / "extra" / "file").read_text() == "kept"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(DataError, match="existing folder of another kind"):
        LogFolderWriter(tmp_path / "other", overwrite=True, extra="extra")


def test_a_folder_that_is_replaced_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "log")
    rows = folder.merged()
    first = next(rows)
    for _ in range(3):
        with LogFolderWriter(tmp_path / "log", overwrite=True) as writer:
            writer.item(item("a", T))
            writer.finish(FACTS)
        reads = (folder.catalog, folder.listens, folder.sessions, folder.heldout, folder.merged)
        for read in reads:
            with pytest.raises(DataError, match="got another version in its place; open it again"):
                next(read())
        with pytest.raises(DataError, match="got another version in its place; open it again"):
            folder.verify()
    assert [first, *rows][-1].at == T + 30, "what was being read is read to its end"
    LogFolder(tmp_path / "log").verify()


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json"):
        LogFolder(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format_version": 2}')
    with pytest.raises(DataError, match="format_version"):
        LogFolder(tmp_path)


def test_listen_row_has_the_fields_of_the_contract() -> None:
    assert set(ListenRow.__struct_fields__) == set(Listen.model_fields)


optional = st.none() | st.text(max_size=8)


@given(
    st.builds(
        Listen,
        event_id=st.text(min_size=1, max_size=20),
        user_id=st.text(min_size=1, max_size=20),
        item_id=st.text(min_size=1, max_size=20),
        at=st.integers(EARLIEST_EVENT_AT, LATEST_AT),
        listened_ms=st.none() | st.integers(0, 10**9),
        duration_ms=st.none() | st.integers(1, 10**9),
        signal=st.sampled_from(["listen", "like", "save", "follow", "share", "skip", "dislike"]),
        surface=optional,
        device=optional,
        session_id=optional,
    )
)
def test_listen_row_and_record_read_each_other(listen: Listen) -> None:
    row = decode_listen(listen.to_json())
    assert Listen.from_json(encode_row(row)) == listen


@pytest.mark.parametrize(
    "change",
    [
        {"at": -1},
        {"at": LATEST_AT + 1},
        {"at": EARLIEST_EVENT_AT - 1},
        {"item_id": ""},
        {"user_id": "x" * 257},
        {"duration_ms": -1},
        {"listened_ms": -1},
        {"signal": "hum"},
        {"schema_version": 0},
        {"event_id": None},
    ],
)
def test_listen_row_refuses_what_the_record_refuses(change: dict[str, object]) -> None:
    value = {"event_id": "e", "user_id": "u", "item_id": "i", "at": T} | change
    line = json.dumps(value).encode()
    with pytest.raises(RowError):
        decode_listen(line)
    with pytest.raises(ValueError):
        Listen.from_json(line)


@pytest.mark.parametrize("swap", [True, False], ids=["swap", "two renames"])
def test_a_writer_killed_at_any_rename_leaves_the_old_log_or_the_new(tmp_path: Path, swap: bool) -> None:
    def save(place: Path, version: str) -> None:
        with LogFolderWriter(place, overwrite=True) as writer:
            writer.item(item(version, T))
            writer.finish(dataclasses.replace(FACTS, name=version))

    def load(place: Path) -> str:
        folder = LogFolder(place)
        folder.verify()
        assert [event.item_id for event in folder.catalog()] == [folder.manifest.name]
        return folder.manifest.name

    assert check_every_kill(tmp_path, save, load, DataError, swap=swap, changes=FOLDERS)
