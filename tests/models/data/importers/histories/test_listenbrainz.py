"""Import of ListenBrainz dumps and exports."""

import gzip
import json
import tarfile
import zipfile

import pytest

from sidestream.models.data.importers.histories import HistoryOptions, ListenBrainzHistory
from sidestream.models.data.plays import SplitOptions
from sidestream.models.errors import DataError
from tests.models.data.importers.histories.sound import import_sound
from tests.models.log_catalogue import catalogue_at

S0 = 1_767_571_200
NOW_MS = (S0 + 90 * 86_400) * 1_000


def listen(at, title="Song", artist="Artist", mapping=None, user=None, **info):
    found = {
        "listened_at": at,
        "track_metadata": {
            "artist_name": artist, "track_name": title, "release_name": "Album", "additional_info": info,
            "mbid_mapping": mapping,
        },
    }  # fmt: skip
    return found if user is None else {**found, "user_name": user}


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values)


def imported(source, target, user=None, max_damaged=0.0):
    how = HistoryOptions(SplitOptions("none"), max_damaged)
    return import_sound(ListenBrainzHistory(source, user), target, how, NOW_MS)


DUMP = {
    "listens/2025/12.listens": lines(listen(S0 - 900, user="rob", duration_ms="215000")),
    "listens/2026/1.listens": lines(listen(S0, user="ann"), listen(S0 + 60, "Other", user="rob")),
    "user.json": '{"user_id": 1, "username": "rob"}',
    "feedback.jsonl": '{"recording_mbid": "m", "score": 1}\n',
}


@pytest.mark.parametrize("form", ["folder", "zip", "tar.xz", "gz file", "file"])
def test_dumps_in_every_form(tmp_path, form):
    folder = tmp_path / "dump"
    for name, text in DUMP.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    source = folder
    if form == "zip":
        source = tmp_path / "dump.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name in DUMP:
                archive.write(folder / name, name)
    elif form == "tar.xz":
        source = tmp_path / "dump.tar.xz"
        with tarfile.open(source, "w:xz") as archive:
            archive.add(folder, "listenbrainz-listens-dump-1-full")
    elif form.endswith("file"):
        text = DUMP["listens/2025/12.listens"] + DUMP["listens/2026/1.listens"]
        source = tmp_path / "all.listens"
        source.write_bytes(gzip.compress(text.encode()) if form.startswith("gz") else text.encode())
    manifest, log = imported(source, tmp_path / "log")
    assert [(row.user_id, row.at, row.duration_ms) for row in log.listens()] == [
        ("rob", (S0 - 900) * 1_000, 215_000), ("ann", S0 * 1_000, None), ("rob", (S0 + 60) * 1_000, None),
    ]  # fmt: skip
    assert (manifest.counts.items, manifest.counts.listeners) == (2, 2)


def test_an_export_names_its_user(tmp_path):
    source = tmp_path / "listenbrainz_rob_1.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("user.json", '{"user_id": 1, "username": "rob"}')
        archive.writestr("listens/2026/1.jsonl", lines({**listen(S0), "inserted_at": 1.5, "recording_msid": "x"}))
        archive.writestr("pinned_recording_feedback.jsonl", "")
    assert [row.user_id for row in imported(source, tmp_path / "log")[1].listens()] == ["rob"]
    assert [row.user_id for row in imported(source, tmp_path / "log2", "me")[1].listens()] == ["me"]
    (tmp_path / "old.json").write_text(json.dumps([listen(S0), listen(S0 + 1)]))
    assert {row.user_id for row in imported(tmp_path / "old.json", tmp_path / "log3")[1].listens()} == {"listener"}


def test_one_track_under_several_ids_is_one_item(tmp_path):
    credits = [("Artist", " feat. "), ("Guest", "")]
    artists = [{"artist_credit_name": name, "join_phrase": phrase} for name, phrase in credits]
    mapped = {"recording_mbid": "m-1", "recording_name": "Song", "artists": artists}
    source = tmp_path / "f.listens"
    source.write_text(
        lines(
            listen(S0, "Song (remastered)", "artist", mapped),
            listen(S0 + 60, "song", "Artist feat. Guest", None, recording_mbid="m-2"),
            listen(S0 + 120, "Song - Radio", "Artist", {"recording_mbid": "m-2"}),
            listen(
                S0 + 180, "Song", "Artist feat. Guest", {"recording_mbid": None}, recording_mbid=None, artist_mbids=None
            ),
            listen(S0 + 240, "Another", "Artist feat. Guest", {}),
        )
    )
    _, log = imported(source, tmp_path / "log")
    items = [row.item_id for row in log.listens()]
    assert items[:4] == ["m-1"] * 4
    assert items[4].startswith("name:")


def test_the_same_listen_twice_is_one(tmp_path):
    source = tmp_path / "f.listens"
    source.write_text(lines(*[listen(S0, user="rob")] * 3, listen(S0, user="ann")))
    manifest, _ = imported(source, tmp_path / "log")
    assert manifest.counts.listens == 2
    assert manifest.notes[0] == "2 rows left out: the same play again"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (listen(0), "expected listened_at in seconds, got 0"),
        (listen(None), "expected listened_at in seconds, got None"),
        (listen(S0 * 1_000), f"any calendar; {S0 * 1_000} looks like ms, not s"),
        (listen("soon"), "expected an ISO 8601 time"),
        (listen(10**400), "expected a time in s, got 1000"),
        (listen(900_000_000), "got 1998-07-09"),
        (listen(S0, title=""), "expected a track_name"),
        (listen(S0, title=None), "expected a track_name"),
        (listen(S0, artist=None), "expected an artist_name or an id"),
        ({"listened_at": S0}, "expected track_metadata"),
        ({"listened_at": S0, "track_metadata": "x"}, "expected track_metadata"),
        ("text", "expected a listen as a JSON object"),
    ],
)
def test_damaged_listens_are_named(tmp_path, row, words):
    source = tmp_path / "f.listens"
    source.write_text(lines(listen(S0), row, listen(S0 + 60)))
    with pytest.raises(DataError) as caught:
        imported(source, tmp_path / "log")
    assert f"{source}:2: " in str(caught.value)
    assert words in str(caught.value)
    assert imported(source, tmp_path / "log", max_damaged=0.5)[0].counts.listens == 2


def test_odd_but_sound_rows(tmp_path):
    source = tmp_path / "f.listens"
    source.write_text(
        lines(
            {"listen_type": "playing_now", "track_metadata": {}},
            {"listen_type": "import", "payload": [listen(S0), listen(S0 + 60, "B")]},
            {
                **listen(None),
                "timestamp": S0 + 120,
                "listened_at": S0 + 120,
                "track_metadata": listen(0, "C")["track_metadata"],
            },
            listen(S0 + 180, "D", None, recording_msid="msid"),
            listen(S0 + 240, "E", duration=200, tags=["rock", None, "rock"]),
            listen(S0 + 300, "F", duration=200_000, duration_ms="", media_player="VLC"),
            listen("2026-01-05T00:10:00+00:00", "G", duration_ms=10**400),
        )
    )
    manifest, log = imported(source, tmp_path / "log")
    assert "1 row left out: what is playing now, not a play" in manifest.notes
    rows = list(log.listens())
    assert [row.duration_ms for row in rows] == [None, None, None, None, 200_000, 200_000, None]
    assert rows[-1].at == (S0 + 600) * 1_000
    assert rows[3].item_id == "msid:msid"
    assert rows[5].device == "VLC"
    assert catalogue_at(log)[rows[4].item_id].tags == ("rock",)


@pytest.mark.parametrize("indent", [None, 2])
def test_answers_of_the_public_api(tmp_path, indent):
    """`/1/user/NAME/listens`, one answer a file or several one after another, and `/1/user/NAME/playing-now`."""
    named = {"payload": {"count": 2, "user_id": "ann", "listens": [listen(S0), listen(S0 + 60, "B", user="bob")]}}
    now = {"payload": {"playing_now": True, "user_id": "ann", "listens": [{"track_metadata": {"track_name": "x"}}]}}
    source = tmp_path / "f.json"
    source.write_text("\n".join(json.dumps(answer, indent=indent) for answer in (named, now)))
    manifest, log = imported(source, tmp_path / "log", user="me")
    assert [row.user_id for row in log.listens()] == ["ann", "bob"]
    assert "1 row left out: what is playing now, not a play" in manifest.notes


def test_a_folder_without_listens_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="expected files of listens"):
        imported(tmp_path / "raw", tmp_path / "log")
