"""Every command that makes a log folder says how far it is, on stderr."""

import json

import pytest
from typer.testing import CliRunner

from sidestream.streams.cli.main import app
from sidestream.streams.terminal import progress

S0 = 1_767_571_200


@pytest.fixture
def sources(tmp_path):
    rows = [{"user": "u", "item": f"i{n}", "at": S0 + n} for n in range(8)]
    (tmp_path / "f.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "f.csv").write_text("user,item,at\n" + "".join(f"u,i{n},{S0 + n}\n" for n in range(8)))
    listens = [{"listened_at": S0 + n, "track_metadata": {"artist_name": "A", "track_name": f"T{n}"}} for n in range(8)]
    (tmp_path / "f.listens").write_text("\n".join(map(json.dumps, listens)))
    plays = [{"ts": f"2026-01-05T00:0{n}:00Z", "ms_played": 9_000, "spotify_track_uri": f"x{n}"} for n in range(8)]
    (tmp_path / "endsong.json").write_text(json.dumps(plays))
    ratings = "".join(f"u\ti{n}\t5\t{S0 + n}\n" for n in range(8))
    (tmp_path / "f.inter").write_text(f"user_id:token\titem_id:token\trating:float\ttimestamp:float\n{ratings}")
    (tmp_path / "f.txt").write_text("1 10 11 12 13\n2 11 12 13 14\n")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "name", "stages"),
    [
        ("jsonl", "f.jsonl", ["read plays  8 in ", "split  8 in ", "write rows  "]),
        ("csv", "f.csv", ["read plays  8 in ", "split  8 in ", "write rows  "]),
        ("listenbrainz", "f.listens", ["read plays  8 in ", "split  8 in ", "write rows  "]),
        ("spotify", "endsong.json", ["read plays  8 in ", "split  8 in ", "write rows  "]),
        ("movielens", "f.inter", ["read plays  8 in ", "split  8 in ", "write rows  "]),
        ("s3rec", "f.txt", ["read lines  2 in ", "write events  8 in "]),
    ],
)
def test_imports_and_the_check_of_what_they_made(sources, monkeypatch, kind, name, stages):
    # As if each took its five seconds.
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    done = CliRunner().invoke(app, ["import", kind, str(sources / name), str(sources / "log"), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads(done.stdout)["listens"] > 0
    assert all(stage in done.stderr for stage in stages), done.stderr
    done = CliRunner().invoke(app, ["log", "check", str(sources / "log")])
    assert "check events/listens.jsonl  " in done.stderr
