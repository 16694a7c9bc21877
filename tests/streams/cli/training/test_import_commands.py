"""The import commands: options reach the importer, and what is refused is one line."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from sidestream.models.data import LogFolder
from sidestream.streams.cli.main import app
from sidestream.streams.errors import SidestreamError
from tests.models.log_catalogue import catalogue_at

S0 = 1_767_571_200


def run(*args, **more):
    return CliRunner().invoke(app, ["import", *map(str, args)], **more)


def imported(tmp_path, *args, **more):
    done = run(*args, "--json", **more)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), LogFolder(tmp_path / "log")


def rows(count=8):
    return [{"who": "u", "what": {"id": f"i{n}"}, "when": S0 + 60 * n, "did": "heart"} for n in range(count)]


MAPPED = [
    "--map",
    "user=who",
    "--map",
    "item=what.id",
    "--map",
    "at=when",
    "--map",
    "signal=did",
    "--signal",
    "heart=like",
]


def test_jsonl_from_standard_input(tmp_path):
    data = gzip.compress("\n".join(map(json.dumps, rows())).encode())
    facts, log = imported(tmp_path, "jsonl", "-", tmp_path / "log", *MAPPED, "--constant", "kind=episode", input=data)
    assert (facts["listens"], facts["heldout_test"], facts["split"].split(":")[0]) == (7, 1, "leave_one_out")
    assert {row.signal for row in log.listens()} == {"like"}
    assert {item.kind for item in catalogue_at(log).values()} == {"episode"}


def test_csv_with_items_and_a_cut_in_time(tmp_path):
    (tmp_path / "plays.csv").write_text(f"u\t1\t{S0}\n" + "".join(f"u\t{n}\t{S0 + 3600 * n}\n" for n in range(1, 9)))
    (tmp_path / "items.csv").write_text("nr;name\n1;One\n99;Never played\n")
    facts, log = imported(
        tmp_path, "csv", tmp_path / "plays.csv", tmp_path / "log", "--columns", "user,item,at", "--delimiter", "\\t",
        "--split", "time", "--valid-from", "2026-01-05T05:00",
        "--test-from", (S0 + 3600 * 7) * 1_000, "--session-gap", 9,
    )  # fmt: skip
    assert log.manifest.cuts == {"valid_from": (S0 + 3600 * 5) * 1_000, "test_from": (S0 + 3600 * 7) * 1_000}
    assert log.manifest.settings["session_gap_ms"] == 540_000
    assert facts["notes"][0] == "1 row left out: plays after what is held out"
    done = run(
        "csv", tmp_path / "plays.csv", tmp_path / "other", "--columns", "user,item,at",
        "--items", tmp_path / "items.csv", "--item-map", "item=nr", "--delimiter", ";", "--split", "none",
    )  # fmt: skip
    assert "expected 3 fields as in the header, got 1" in str(done.exception)


@pytest.mark.parametrize(
    ("given", "listeners"),
    [((), {"u"}), (("--missing", "NaN,-"), {"u", "None"}), (("--missing", ""), {"u", "None", "-"})],
)
def test_words_that_mean_no_value(tmp_path, given, listeners):
    (tmp_path / "f").write_text("user,item,at\n" + "".join(f"{user},i,{S0}\n" for user in ("u", "None", "-")))
    _, log = imported(
        tmp_path, "csv", tmp_path / "f", tmp_path / "log", "--split", "none", "--max-damaged", 100, *given
    )
    assert {row.user_id for row in log.listens()} == listeners


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_times_in_a_format_of_their_own(tmp_path, kind):
    values = [{"user": "u", "item": "i", "at": f"05.01.2026 00:0{n}"} for n in range(3)]
    lines = ["user,item,at", *(",".join(value.values()) for value in values)]
    (tmp_path / "f").write_text("\n".join(lines if kind == "csv" else map(json.dumps, values)))
    given = ("--split", "none", "--at-format", "%d.%m.%Y %H:%M")
    _, log = imported(tmp_path, kind, tmp_path / "f", tmp_path / "log", *given)
    assert [row.at for row in log.listens()] == [(S0 + 60 * n) * 1_000 for n in range(3)]


def test_the_other_formats(tmp_path):
    listen = {"listened_at": S0, "track_metadata": {"artist_name": "A", "track_name": "T"}}
    (tmp_path / "lb").write_text(json.dumps(listen))
    _, log = imported(tmp_path, "listenbrainz", tmp_path / "lb", tmp_path / "log", "--user", "me", "--split", "none")
    assert [row.user_id for row in log.listens()] == ["me"]
    play = {"ts": "2026-01-05T00:00:00Z", "ms_played": 9, "spotify_track_uri": "x", "incognito_mode": True}
    (tmp_path / "endsong.json").write_text(json.dumps([play]))
    args = ["spotify", tmp_path / "endsong.json", tmp_path / "log", "--private", "--split", "none", "--overwrite"]
    assert imported(tmp_path, *args)[0]["listens"] == 1
    (tmp_path / "a.inter").write_text(f"user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\ti\t3\t{S0}\n")
    args = ["movielens", tmp_path / "a.inter", tmp_path / "log", "--liked-from", 3, "--split", "none", "--overwrite"]
    assert [row.signal for row in imported(tmp_path, *args)[1].listens()] == ["like"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--valid-from", "2026-01-01"], "--valid-from and --test-from: expected --split time, got --split last"),
        (["--split", "time", "--test-from", "soon"], "soon: expected a time, for example"),
        (["--signal", "heart"], "--signal heart: expected WORD=SIGNAL"),
        (["--signal", "heart=love"], "expected one of listen"),
        (["--map", "when"], "--map when: expected field=value"),
        (["--item-map", "item=x"], "--item-map: expected --items FILE"),
        (
            ["--at-format", "day"],
            "--at-format: expected a format such as '%d.%m.%Y %H:%M', without --at-unit, got 'day'",
        ),
        (["--at-format", "%d.%m.%Y", "--at-unit", "s"], "--at-format: expected a format such as"),
        (["--split", "time", "--test-from", "9" * 400], "99: expected a time, for example"),
        (["--split", "time", "--test-from", "9" * 5_000 + "d"], "99: expected a time, for example"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, options, words):
    (tmp_path / "f").write_text("\n".join(map(json.dumps, rows())))
    done = run("jsonl", tmp_path / "f", tmp_path / "log", *MAPPED, *options)
    assert isinstance(done.exception, SidestreamError)
    assert words in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("option", ["--session-gap", "--max-damaged"])
@pytest.mark.parametrize("number", ["nan", "inf", "1e300", "-1"])
def test_options_that_are_no_number_in_range_are_refused(tmp_path, option, number):
    (tmp_path / "f").write_text("\n".join(map(json.dumps, rows())))
    done = run("jsonl", tmp_path / "f", tmp_path / "log", *MAPPED, option, number)
    assert done.exit_code == 2
    assert "Invalid value for" in done.output


def test_units_that_look_wrong_are_warned_of(tmp_path):
    (tmp_path / "f").write_text("\n".join(json.dumps({**row, "duration": 210_000}) for row in rows()))
    done = run("jsonl", tmp_path / "f", tmp_path / "log", *MAPPED, "--duration-unit", "s")
    assert done.exit_code == 0
    assert "warning: " in done.stderr
    assert "it looks like ms" in done.stderr


def test_days_without_a_time_are_warned_of(tmp_path):
    (tmp_path / "f").write_text("\n".join(json.dumps({"user": "u", "item": "i", "at": "2026-01-05"}) for _ in range(3)))
    done = run("jsonl", tmp_path / "f", tmp_path / "log", "--split", "none")
    assert done.exit_code == 0, done.output
    assert "warning: " in done.stderr
    assert "times are whole days" in done.stderr
