"""Import of Spotify's extended streaming history."""

import json
import zipfile

import pytest

from sidestream.models.data.importers.histories import HistoryOptions, SpotifyHistory, SpotifyOptions
from sidestream.models.data.plays import SplitOptions
from sidestream.models.errors import DataError
from tests.models.data.importers.histories.sound import import_sound
from tests.models.log_catalogue import catalogue_at

NOW_MS = 1_775_000_000_000
EMPTY = dict.fromkeys(
    [
        "master_metadata_track_name", "master_metadata_album_artist_name", "master_metadata_album_album_name",
        "spotify_track_uri", "episode_name", "episode_show_name", "spotify_episode_uri", "audiobook_title",
        "audiobook_uri", "audiobook_chapter_uri", "audiobook_chapter_title", "offline_timestamp", "skipped",
    ]
)  # fmt: skip


def play(minute, ms=200_000, **more):
    return {
        **EMPTY, "ts": f"2026-01-05T{minute // 60:02}:{minute % 60:02}:00Z", "platform": "android", "ms_played": ms,
        "conn_country": "DE", "ip_addr": "192.0.2.1", "reason_start": "trackdone", "reason_end": "trackdone",
        "shuffle": False, "offline": False, "incognito_mode": False, **more,
    }  # fmt: skip


def track(minute, title="Song", artist="Artist", uri="spotify:track:1", **more):
    names = {"master_metadata_track_name": title, "master_metadata_album_artist_name": artist,
             "master_metadata_album_album_name": "Album", "spotify_track_uri": uri}  # fmt: skip
    return play(minute, **{**names, **more})


def written(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2))
    return path


def imported(source, target, options=None, max_damaged=0.0):
    how = HistoryOptions(SplitOptions("none"), max_damaged)
    return import_sound(SpotifyHistory(source, options), target, how, NOW_MS)


def test_music_podcasts_and_audiobooks(tmp_path):
    source = written(
        tmp_path / "Streaming_History_Audio_2026_1.json",
        track(10),
        play(20, episode_name="Ep", episode_show_name="Show", spotify_episode_uri="spotify:episode:1"),
        play(30, audiobook_title="Book", audiobook_uri="spotify:show:1", audiobook_chapter_uri="spotify:episode:c",
             audiobook_chapter_title="Chapter 1"),
        play(40),
    )  # fmt: skip
    manifest, log = imported(source, tmp_path / "log")
    found = {item.item_id: (item.kind, item.title, item.creator, item.show) for item in catalogue_at(log).values()}
    assert found == {
        "spotify:track:1": ("track", "Song", "Artist", "Album"),
        "spotify:episode:1": ("episode", "Ep", "Show", "Show"),
        "spotify:episode:c": ("audiobook", "Chapter 1", None, "Book"),
    }
    assert "1 row left out: no item is named (gone from the service, or a local file)" in manifest.notes
    text = b"".join(path.read_bytes() for path in (tmp_path / "log").rglob("*.json*"))
    assert b"192.0.2.1" not in text
    assert b'"DE"' not in text


def test_ts_is_the_end_and_sessions_begin_before_the_first_play(tmp_path):
    source = written(tmp_path / "endsong_0.json", track(10), track(14, "B"), track(120, "C", ms=80 * 60_000))
    _, log = imported(source, tmp_path / "log")
    rows, starts = list(log.listens()), list(log.sessions())
    assert rows[0].at - starts[0].at == 200_000 + 1_000
    assert len(starts) == 1, "an episode of 80 minutes that begins 26 minutes later goes on with the session"
    assert rows[-1].session_id == starts[0].session_id


def test_skips(tmp_path):
    source = written(
        tmp_path / "Streaming_History_Audio_2026_1.json",
        track(1, "a", skipped=True, ms=5_000),
        track(2, "b", skipped=True, ms=90_000),
        track(3, "c", skipped=None, reason_end="fwdbtn", ms=29_999),
        track(4, "d", skipped=None, reason_end="fwdbtn", ms=30_000),
        track(5, "e", skipped=False, ms=12_000),
        track(6, "f", ms=0),
    )
    manifest, log = imported(source, tmp_path / "log")
    assert [row.signal for row in log.listens()] == ["skip", "listen", "skip", "listen", "listen"]
    assert "1 row left out: nothing was played (0 ms)" in manifest.notes


def test_offline_plays_and_overlapping_files_come_once(tmp_path):
    offline = {"offline": True, "offline_timestamp": 1_767_500_000}
    written(
        tmp_path / "raw" / "Streaming_History_Audio_2026_1.json", track(10), track(20, "B", **offline), track(30, "C")
    )
    written(tmp_path / "raw" / "Streaming_History_Audio_2026_2.json", track(30, "C"), track(55, "B", **offline))
    manifest, log = imported(tmp_path / "raw", tmp_path / "log")
    assert len(list(log.listens())) == 3
    assert "2 rows left out: the same play again" in manifest.notes


def test_an_offline_time_that_is_no_time_tells_nothing(tmp_path):
    rows = [track(n, f"Song {n}", offline=True, offline_timestamp=10**400) for n in range(3)]
    _, log = imported(written(tmp_path / "endsong.json", *rows), tmp_path / "log")
    assert len(list(log.listens())) == 3


def test_one_song_under_several_uris_is_one_item(tmp_path):
    source = written(
        tmp_path / "endsong.json",
        track(1),
        track(9, "SONG", uri="spotify:track:2"),
        track(19, "Song", "Else", uri="spotify:track:3"),
    )
    _, log = imported(source, tmp_path / "log")
    assert [row.item_id for row in log.listens()][:2] == ["spotify:track:1"] * 2
    assert len(catalogue_at(log)) == 2


def test_private_sessions_are_asked_for(tmp_path):
    source = written(tmp_path / "endsong.json", track(1), track(9, "B", incognito_mode=True))
    manifest, _ = imported(source, tmp_path / "log")
    assert manifest.counts.listens == 1
    assert "1 row left out: in a private session (--private takes them)" in manifest.notes
    assert imported(source, tmp_path / "log2", SpotifyOptions(private=True))[0].counts.listens == 2


def test_accounts_are_folders_or_zips(tmp_path):
    raw = tmp_path / "raw"
    written(raw / "ann" / "Spotify Extended Streaming History" / "Streaming_History_Audio_2026_1.json", track(1))
    with zipfile.ZipFile(raw / "bob.zip", "w") as archive:
        archive.writestr(
            "Spotify Extended Streaming History/Streaming_History_Audio_2025_0.json", json.dumps([track(2)])
        )
        archive.writestr("Spotify Extended Streaming History/ReadMe.pdf", "x")
    _, log = imported(raw, tmp_path / "log")
    assert [row.user_id for row in log.listens()] == ["ann", "bob"]
    assert [row.user_id for row in imported(raw / "ann", tmp_path / "log2")[1].listens()] == ["ann"]
    assert [row.user_id for row in imported(raw / "bob.zip", tmp_path / "log3")[1].listens()] == ["bob"]
    named = imported(raw / "bob.zip", tmp_path / "log4", SpotifyOptions(user="me"))[1]
    assert [row.user_id for row in named.listens()] == ["me"]
    with pytest.raises(DataError, match="expected one account for --user, got 2"):
        imported(raw, tmp_path / "log5", SpotifyOptions(user="me"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (track(1, ts=None), "expected ts, got none"),
        (track(1, ts="2026-13-01"), "expected an ISO 8601 time"),
        (track(1, ts="1999-01-01T00:00:00Z"), "got 1999-01-01"),
        (track(1, ms_played="long"), "expected ms_played"),
        (track(1, ms_played=-5), "expected ms_played"),
        (track(1, ms_played=10**400), "expected ms_played as a number"),
        ({"endTime": "2026-01-01 10:00", "msPlayed": 1}, "got the account data: ask Spotify for the other package"),
        ([1], "expected a play as a JSON object"),
    ],
)
def test_damaged_plays_are_named(tmp_path, row, words):
    source = written(tmp_path / "endsong.json", track(5), row, track(20, "B"))
    with pytest.raises(DataError) as caught:
        imported(source, tmp_path / "log")
    assert "endsong.json:" in str(caught.value)
    assert words in str(caught.value)
    assert imported(source, tmp_path / "log", max_damaged=0.5)[0].counts.listens == 2


def test_a_folder_without_history_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "Userdata.json").write_text("{}")
    with pytest.raises(DataError, match="ask Spotify for the extended streaming history"):
        imported(tmp_path / "raw", tmp_path / "log")
