"""Import of JSON and CSV files of plays: detected and mapped fields, units, and reporting of damaged rows."""

import json
import re

import pytest

from sidestream.models.data import LogFolder, training_sequences
from sidestream.models.data.importers.histories import (
    FieldMap,
    HistoryOptions,
    MappedHistory,
    MappedOptions,
    import_history,
)
from sidestream.models.data.plays import SplitOptions
from sidestream.models.errors import DataError
from sidestream.models.records.times import UNKNOWN_PUBLISHED_AT
from tests.models.data.importers.histories.sound import import_sound
from tests.models.log_catalogue import catalogue_at

S0 = 1_767_571_200  # 2026-01-05
NOW_MS = (S0 + 90 * 86_400) * 1_000
NONE = HistoryOptions(split=SplitOptions("none"))


def rows(count=6, **more):
    return [{"user": "u", "item": f"i{n}", "at": S0 + 60 * n, **more} for n in range(count)]


def written(path, values, text=None):
    path.write_text("\n".join(json.dumps(value) for value in values) if text is None else text)
    return path


def imported(path, target, options=None, how=NONE, kind="jsonl"):
    return import_sound(MappedHistory(path, kind, options), target, how, NOW_MS)


def mapping(*paths, constants=(), **more):
    return MappedOptions(FieldMap.parse(paths, constants), **more)


def test_usual_names_and_units_are_found(tmp_path):
    values = [
        {
            "userId": 7,
            "track_name": "One",
            "artist": ["A", "B"],
            "played_at": f"2026-01-05T00:0{n}:00Z",
            "ms_played": 1_000,
        }
        for n in range(3)
    ]
    manifest, folder = imported(written(tmp_path / "f", values), tmp_path / "log")
    assert manifest.settings["map"] == {
        "user": "userId", "at": "played_at", "title": "track_name", "creator": "artist", "listened": "ms_played",
    }  # fmt: skip
    assert (manifest.settings["at_unit"], manifest.settings["duration_units"]) == ("iso", {"listened": "ms"})
    assert [(row.user_id, row.at, row.listened_ms) for row in folder.listens()] == [
        ("7", S0 * 1_000 + 60_000 * n, 1_000) for n in range(3)
    ]
    (item,) = catalogue_at(folder).values()
    assert (item.title, item.creator, item.item_id.split(":")[0]) == ("One", "A, B", "name")


def test_paths_constants_and_words_of_signals(tmp_path):
    values = [
        {"who": {"id": f"u{n % 2}"}, "what": {"id": n, "by": [{"name": "X"}]}, "t": S0 * 1_000 + n, "did": "heart",
         "labels": "a|b|a"}
        for n in range(4)
    ]  # fmt: skip
    options = mapping(
        "user=who.id", "item=what.id", "creator=what.by.0.name", "at=t", "signal=did", "tags=labels",
        constants=["kind=episode"], signals={"heart": "like"},
    )  # fmt: skip
    _, folder = imported(written(tmp_path / "f", values), tmp_path / "log", options)
    assert [(row.user_id, row.item_id, row.signal) for row in folder.listens()] == [
        (f"u{n % 2}", str(n), "like") for n in range(4)
    ]
    item = catalogue_at(folder)["0"]
    assert (item.kind, item.creator, item.tags) == ("episode", "X", ("a", "b"))


@pytest.mark.parametrize(
    ("unit", "value", "at"),
    [
        ("s", S0, S0 * 1_000),
        ("s", f"{S0}.5", S0 * 1_000 + 500),
        ("ms", S0 * 1_000, S0 * 1_000),
        ("us", S0 * 1_000_000 + 1_000, S0 * 1_000 + 1),
        ("iso", "2026-01-05 01:00:00+01:00", S0 * 1_000),
        ("iso", "2026-01-05 00:00:00 UTC", S0 * 1_000),
        ("iso", "2026-01-05", S0 * 1_000),
    ],
)
@pytest.mark.parametrize("asked", ["auto", "same"])
def test_units_of_times(tmp_path, asked, unit, value, at):
    path = written(tmp_path / "f", [{"user": "u", "item": "i", "at": value}])
    _, folder = imported(path, tmp_path / "log", mapping(at_unit="auto" if asked == "auto" else unit))
    assert [row.at for row in folder.listens()] == [at]


@pytest.mark.parametrize(
    ("unit", "value", "words"),
    [
        ("ms", S0, "--at-unit ms does not fit: 1767571200 gives 1970-01-21 10:59:31; it looks like --at-unit s"),
        ("s", S0 * 1_000, "any calendar; it looks like --at-unit ms"),
        ("s", "2026-01-05", "'2026-01-05' gives no time; it looks like --at-unit iso"),
        (
            "iso",
            S0,
            "--at-unit iso does not fit: 1767571200 gives no time; it looks like --at-unit s",
        ),
        ("auto", 2026, "expected times of which the unit is clear"),
        ("auto", "yesterday", "got 'yesterday', 'yesterday'"),
        ("auto", S0 + 400 * 86_400, "until now, got 1802131200 (s), which is 2027-02-09 00:00:00 UTC, as in most rows"),
        ("s", S0 + 400 * 86_400, "the unit is not the problem"),
        ("auto", 880_000_000, "until now, got 880000000 (s), which is 1997-11-20 04:26:40 UTC"),
        ("s", 880_000_000, "until now, got 880000000 (s), which is 1997-11-20"),
        ("auto", "880000000000000", "(us), which is 1997-11-20"),
        ("auto", "1965-01-01", "until now, got '1965-01-01' (iso), which is 1965-01-01 00:00:00 UTC"),
        ("iso", "2028-03-14T00:00:00Z", "(iso), which is 2028-03-14 00:00:00 UTC"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(tmp_path, unit, value, words):
    path = written(tmp_path / "f", [{"user": "u", "item": "i", "at": value}] * 3)
    with pytest.raises(DataError) as caught:
        imported(path, tmp_path / "log", mapping(at_unit=unit))
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("duration", "unit", "expected"),
    [(210, "auto", 210_000), (210_000, "auto", 210_000), (7_200, "auto", 7_200_000), (20_000, "ms", 20_000)],
)
def test_units_of_durations(tmp_path, duration, unit, expected):
    path = written(tmp_path / "f", rows(duration=duration, listened=duration // 2))
    _, folder = imported(path, tmp_path / "log", mapping(duration_unit=unit))
    assert {(row.duration_ms, row.listened_ms) for row in folder.listens()} == {(expected, expected // 2)}
    assert catalogue_at(folder)["i0"].duration_ms == expected


PLAYED = [
    {"user_id": f"u{n % 9}", "played_at": S0 + 400 * n, "track_id": f"t{n}", "duration_ms": 210_000 + n % 200,
     "play_time": 20 + n % 200} for n in range(500)
]  # fmt: skip


def as_csv(values):
    return "\n".join([",".join(values[0]), *(",".join(map(str, value.values())) for value in values)])


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_each_column_has_its_own_unit(tmp_path, kind):
    path = written(tmp_path / "f", PLAYED, as_csv(PLAYED) if kind == "csv" else None)
    history = MappedHistory(path, kind)
    manifest = import_history(history, tmp_path / "log", NONE, now_ms=lambda: NOW_MS)
    assert manifest.settings["duration_units"] == {"duration": "ms", "listened": "s"}
    assert [row.listened_ms for row in LogFolder(tmp_path / "log").listens()] == [
        (20 + n % 200) * 1_000 for n in range(500)
    ]
    assert history.warnings == ()


def test_the_unit_of_an_items_file_is_that_of_the_file_alone(tmp_path):
    items = written(tmp_path / "items", [{"id": f"i{n}", "duration": 210_000} for n in range(6)])
    path = written(tmp_path / "f", rows(listened=200, duration=210))
    manifest, folder = imported(path, tmp_path / "log", MappedOptions(items_file=items))
    assert {(row.duration_ms, row.listened_ms) for row in folder.listens()} == {(210_000, 200_000)}
    assert {item.duration_ms for item in catalogue_at(folder).values()} == {210_000}
    assert manifest.settings["duration_units"] == {"duration": "s", "listened": "s"}
    assert manifest.settings["item_duration_units"] == {"duration": "ms"}
    path = written(tmp_path / "g", rows(listened=20_000))
    with pytest.raises(DataError, match=r"g, column listened: expected durations of which the unit is clear"):
        imported(path, tmp_path / "log2", MappedOptions(items_file=items))


def test_listened_times_that_no_item_lasts_are_not_taken_for_seconds(tmp_path):
    path = written(tmp_path / "f", rows(listened=9_000, duration_ms=210_000))
    with pytest.raises(DataError, match=r"column listened: .*2\.5 h in seconds, 9 s in milliseconds"):
        imported(path, tmp_path / "log")


def test_a_unit_in_the_name_of_a_column_that_looks_wrong_is_named_as_such(tmp_path):
    history = MappedHistory(written(tmp_path / "f", rows(duration_ms=210)), "jsonl")
    import_history(history, tmp_path / "log", NONE, now_ms=lambda: NOW_MS)
    (warning,) = history.warnings
    assert "column duration_ms: with the unit ms in its name a long duration is 0.21 s; it looks like s" in warning
    assert "--duration-unit" not in warning


def test_skips_do_not_make_milliseconds_look_like_seconds(tmp_path):
    values = [{**row, "listened": 3_000 if n % 3 else 240_000} for n, row in enumerate(rows(30))]
    _, folder = imported(written(tmp_path / "f", values), tmp_path / "log")
    assert {row.listened_ms for row in folder.listens()} == {3_000, 240_000}


def test_unclear_durations_are_refused_and_unlikely_ones_warned_of(tmp_path):
    path = written(tmp_path / "f", rows(duration=20_000))
    with pytest.raises(DataError, match="give --duration-unit"):
        imported(path, tmp_path / "log")
    history = MappedHistory(written(tmp_path / "g", rows(duration=210_000)), "jsonl", mapping(duration_unit="s"))
    import_history(history, tmp_path / "log", NONE, now_ms=lambda: NOW_MS)
    assert "a long duration is 210000 s; it looks like ms" in history.warnings[0]


DAMAGE = [
    ("{broken", "expected a JSON object, got '{broken' at character 2 (JSON is malformed"),
    (
        '{"user": "u", "item": "i", "at": 1767571200, "rating": NaN, "title": "%s"}' % ("x" * 99),
        """: NaN, "title": "xxxxxxxxxxxxxxx'… at character 56 (NaN is not JSON; write null""",
    ),
    ("{'user': 'u', 'item': 'i'}", "at character 2 (looks like the printed form of a Python dict; expected JSON)"),
    ('{"user": "u", "explicit": True}', "True}' at character 27 (looks like the printed form of a Python dict"),
    ('{"user": "u", "item": "i", "at": 1767571200},', "(a comma after the JSON value; expected values without commas"),
    ('{"user": "u", "item": "i", "at": 1767571200,}', "at character 44 (a comma after the last value of an object"),
    ('{"user": "u", "tags": ["a",]}', "(a comma after the last value of an object or a list is not JSON)"),
    ('{"user": "\\ud83d"}', "(a lone surrogate (\\ud83d) is not valid UTF-8 text)"),
    ("<row/>", "(looks like XML; expected JSON)"),
    ("u,i,1767571200", "(looks like CSV; expected JSON)"),
    ("[1]", "expected a JSON object, got '[1]'"),
    ('{"user": "u", "item": "i"}', "expected a value for at, got none"),
    ('{"user": "", "item": "i", "at": 1767571200}', "expected user to have 1 to 256 characters, got none"),
    ('{"user": "%s", "item": "i", "at": 1767571200}' % ("x" * 257), "got 257"),
    ('{"user": "u", "item": null, "at": 1767571200}', "expected an item id, got none"),
    ('{"user": "u", "item": "i", "at": 0}', "expected a time from 2000-01-01 until now, got 1970-01-01"),
    ('{"user": "u", "item": "i", "at": 1e300}', "any calendar"),
    ('{"user": {"id": 1}, "item": "i", "at": 1767571200}', "expected a text"),
    ('{"user": "u", "item": "i", "at": 1767571200, "signal": "hum"}', "--signal 'hum=listen'"),
    ('{"user": "u", "item": "i", "at": 1767571200, "kind": "video"}', "expected a kind of track"),
    ('{"user": "u", "item": "i", "at": 1767571200, "duration": "long"}', "expected a duration as a number"),
    ('{"user": "u", "item": "i", "at": 1767571200, "duration": "1,5"}', "such as 210 or 1.5, got '1,5'"),
    ('{"user": "u", "item": "i", "at": 1767571200, "duration": -1}', "expected a duration in s, at most a year"),
    ('{"user": "u", "item": "i", "at": 1767571200, "explicit": "maybe"}', "expected explicit to be true or false"),
]


@pytest.mark.parametrize(("line", "words"), DAMAGE)
def test_a_damaged_row_is_named_counted_and_left_out(tmp_path, line, words):
    good = [
        json.dumps({**row, "signal": "like", "kind": "track", "duration": 100, "explicit": False}) for row in rows(3)
    ]
    path = written(tmp_path / "f", (), "\n".join([good[0], "", line, *good[1:]]))
    with pytest.raises(DataError, match=r"1 of 4 rows are damaged, 25\.00%, more than 1\.00%") as caught:
        imported(path, tmp_path / "log")
    assert f"{path}:3: " in str(caught.value)
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    manifest, _ = imported(path, tmp_path / "log", how=HistoryOptions(split=SplitOptions("none"), max_damaged=0.25))
    assert manifest.counts.listens == 3
    assert manifest.notes[0].startswith(f"1 of 4 rows are damaged and left out: {path}:3: ")


def test_a_row_that_is_not_utf8_is_damaged_with_its_place(tmp_path):
    lines = [json.dumps(row).encode() for row in rows(3)]
    bad = b'{"user": "u", "item": "i", "title": "Bj\xf6rk"}'
    how = HistoryOptions(split=SplitOptions("none"), max_damaged=0.5)
    for joined in (b"\n".join([*lines, bad]), b"[" + b",\n".join([*lines, bad]) + b"]"):
        (tmp_path / "f").write_bytes(joined)
        manifest, _ = imported(tmp_path / "f", tmp_path / f"log{len(joined)}", how=how)
        assert f'{tmp_path / "f"}:4: expected UTF-8, got byte f6 in \'{{"user": "u"' in manifest.notes[0]
        assert "(looks like ISO 8859-1 or Windows-1252 text; save the file as UTF-8)" in manifest.notes[0]


@pytest.mark.parametrize("text", ["user,item,at\nu,i,1767571200\n", "u\ti\t1767571200\n", "\nuser;item\nu;i\n"])
def test_csv_as_json_is_named_as_csv(tmp_path, text):
    path = written(tmp_path / "f", (), text)
    words = "expected JSON, not CSV \\(`sidestream import csv`\\), got 'u"
    with pytest.raises(DataError, match=words):
        imported(path, tmp_path / "log")
    plays = written(tmp_path / "plays", rows(3))
    with pytest.raises(DataError, match=words):
        imported(plays, tmp_path / "log", MappedOptions(items_file=path))


def test_a_wrong_map_ends_the_import_early_and_many_damaged_rows_are_named_up_to_twenty(tmp_path):
    path = written(tmp_path / "f", [{"user": "u", "item": "", "at": S0}] * 5_000)
    with pytest.raises(DataError, match="none of the first 1,000 rows can be read"):
        imported(path, tmp_path / "log")
    path = written(tmp_path / "f", [*rows(3), *[{"user": "u"}] * 50])
    manifest, _ = imported(path, tmp_path / "log", how=HistoryOptions(split=SplitOptions("none"), max_damaged=1.0))
    assert manifest.notes[0].count(f"{path}:") == 20
    assert manifest.notes[0].endswith("and 30 more")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            mapping("user=nobody"),
            "--map user=nobody: expected a column or path of the first row, which has who, item, at",
        ),
        (
            MappedOptions(),
            "for user; give --user NAME for a file of one listener, or --map user=…; the file has who, item, at",
        ),
        (mapping("user=who", "at=item.x"), "expected times of which the unit is clear"),
    ],
)
def test_a_map_that_fits_nothing_is_refused(tmp_path, options, words):
    path = written(tmp_path / "f", [{"who": "u", "item": "i", "at": S0}])
    with pytest.raises(DataError) as caught:
        imported(path, tmp_path / "log", options)
    assert words in str(caught.value)


@pytest.mark.parametrize("given", ["user", "user=", "nothing=a"])
def test_assignments_that_mean_nothing_are_refused(given):
    with pytest.raises(DataError, match=given):
        FieldMap.parse([given], [])
    with pytest.raises(DataError, match="twice"):
        FieldMap.parse(["user=a", "user=b"], [])
    with pytest.raises(DataError, match="--signal heart=love: expected one of listen"):
        MappedHistory("f", "jsonl", mapping(signals={"heart": "love"}))


def test_nothing_is_not_a_log(tmp_path):
    with pytest.raises(DataError, match="expected plays, got none"):
        imported(written(tmp_path / "f", ()), tmp_path / "log")


def test_one_listener_and_items_without_ids(tmp_path):
    values = [
        {"track": "One", "artist": "A", "date": "2026-01-05 10:00"},
        {"track": "one", "artist": "a", "date": "2026-01-06"},
    ]
    _, folder = imported(written(tmp_path / "f", values), tmp_path / "log", mapping(user="me"))
    assert {row.user_id for row in folder.listens()} == {"me"}
    assert len(catalogue_at(folder)) == 1


def test_csv_with_and_without_a_header(tmp_path):
    text = f"user;item;at\nu;1;{S0}\nu;2;{S0 + 1}\nu;short\n"
    path = written(tmp_path / "f.csv", (), text)
    manifest, folder = imported(
        path, tmp_path / "log", how=HistoryOptions(split=SplitOptions("none"), max_damaged=0.5), kind="csv"
    )
    assert [row.item_id for row in folder.listens()] == ["1", "2"]
    assert f"{path}:4: expected 3 fields as in the header, got 2" in manifest.notes[0]
    path.write_text(f"{S0}\tu\t1\n")
    _, folder = imported(path, tmp_path / "log2", MappedOptions(columns=("at", "user", "item")), kind="csv")
    assert [row.item_id for row in folder.listens()] == ["1"]


def test_a_file_of_items_goes_before_what_plays_say(tmp_path):
    items = written(
        tmp_path / "items",
        [{"id": "i0", "title": "Told", "published_at": "1960", "duration": 200}, {"id": "never", "title": "N"}],
    )
    path = written(tmp_path / "f", rows(3, title="Heard", creator="C"))
    manifest, folder = imported(path, tmp_path / "log", MappedOptions(items_file=items))
    found = catalogue_at(folder)
    assert set(found) == {"i0", "i1", "i2", "never"}
    assert (found["i0"].title, found["i0"].creator, found["i0"].published_at) == ("Told", "C", -315_619_200_000)
    assert (found["i1"].title, found["i1"].published_at) == ("Heard", UNKNOWN_PUBLISHED_AT)
    assert any("2 items of plays not in" in note for note in manifest.notes)


def test_duplicate_plays_keep_the_longer_one(tmp_path):
    values = [*rows(2, listened=60_000), *rows(2, listened=90_000), {**rows(1)[0], "user": "v", "listened": 90_000}]
    manifest, folder = imported(written(tmp_path / "f", values), tmp_path / "log")
    assert [(row.user_id, row.listened_ms) for row in folder.listens()] == [("u", 90_000), ("v", 90_000), ("u", 90_000)]
    assert "2 rows left out: the same play again" in manifest.notes


@pytest.mark.parametrize("day", ["2026-01-05", "2026-01-05T00:00:00Z", S0])
def test_days_without_a_time_keep_repeats(tmp_path, day):
    values = [{"user": "u", "item": item, "at": day} for item in "abaab"]
    history = MappedHistory(written(tmp_path / "f", values), "jsonl")
    manifest = import_history(history, tmp_path / "log", NONE, now_ms=lambda: NOW_MS)
    listens = list(LogFolder(tmp_path / "log").listens())
    assert [row.item_id for row in listens] == list("abaab")
    assert len({row.event_id for row in listens}) == 5
    assert any("times are whole days" in note for note in manifest.notes)
    assert "times are whole days" in history.warnings[0]
    again, _ = imported(written(tmp_path / "g", values), tmp_path / "log2")
    assert again.files == manifest.files


def test_a_play_at_midnight_is_no_day(tmp_path):
    values = [{"user": "u", "item": "a", "at": at} for at in (S0, S0, S0 + 7, S0 + 7)]
    _, folder = imported(written(tmp_path / "f", values), tmp_path / "log")
    assert len(list(folder.listens())) == 2


def test_ids_written_as_decimals_are_those_without(tmp_path):
    values = [{"user_id": f"{n % 3}.0", "timestamp": S0 + n, "item_id": f"{n % 5}.0"} for n in range(20)]
    items = written(tmp_path / "items", (), "id,title\n" + "\n".join(f"{n},Song {n}" for n in range(5)))
    path = written(tmp_path / "f", (), as_csv(values))
    manifest, folder = imported(path, tmp_path / "log", MappedOptions(items_file=items), kind="csv")
    assert set(catalogue_at(folder)) == set("01234")
    assert {row.user_id for row in folder.listens()} == set("012")
    assert "Ids in user_id, item_id are whole numbers written as decimals: 7.0 is read as 7." in manifest.notes
    items = written(tmp_path / "items", (), "id,title\n" + "\n".join(f"{n}.0,Song {n}" for n in range(5)))
    path = written(tmp_path / "f", (), as_csv([{**value, "item_id": n % 5} for n, value in enumerate(values)]))
    _, folder = imported(path, tmp_path / "log2", MappedOptions(items_file=items), kind="csv")
    assert set(catalogue_at(folder)) == set("01234")


def test_ids_of_which_only_some_are_decimals_stay(tmp_path):
    values = [{"user": "u", "at": S0 + n, "item": item} for n, item in enumerate(["007", "7", "7.0", "1.0"])]
    _, folder = imported(written(tmp_path / "f", (), as_csv(values)), tmp_path / "log", kind="csv")
    assert [row.item_id for row in folder.listens()] == ["007", "7", "7.0", "1.0"]


def test_a_start_is_known_by_its_column(tmp_path):
    values = [{"user": "u", "item": f"i{n}", "started_at": S0 + 300 * n, "ms_played": 200_000} for n in range(4)]
    manifest, _ = imported(written(tmp_path / "f", values), tmp_path / "log")
    assert (manifest.settings["map"]["at"], manifest.settings["at_is"]) == ("started_at", "start")
    manifest, _ = imported(tmp_path / "f", tmp_path / "log2", mapping(at_is="end"))
    assert manifest.settings["at_is"] == "end"


WORDS = ["NaN", "nan", "None", "null", "NULL", "\\N", "N/A", "#N/A", "-", " NA ", "<NA>"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("name", ["user", "item", "at", "title"])
def test_a_word_for_no_value_is_no_listener_and_no_item(tmp_path, word, name):
    values = [{"user": "u", "item": f"i{n}", "at": S0 + n} for n in range(3)]
    if name == "title":
        values = [{"user": "u", "title": f"Song {n}", "artist": "A", "at": S0 + n} for n in range(3)]
    path = written(tmp_path / "f", (), as_csv([*values, {**values[0], name: word}]))
    how = HistoryOptions(split=SplitOptions("none"), max_damaged=0.5)
    manifest, _ = imported(path, tmp_path / "log", how=how, kind="csv")
    assert (manifest.counts.listens, manifest.counts.listeners, manifest.counts.items) == (3, 1, 3)
    assert f"{path}:5: expected" in manifest.notes[0]
    assert f"got {word!r}, a word for no value (--missing says which are)" in manifest.notes[0]


def test_a_word_for_no_value_is_absent_where_a_field_may_be(tmp_path):
    values = [
        {"user": f"{n}.0", "item": f"i{n}", "at": S0 + n, "title": "NaN", "artist": "None", "tags": "null",
         "session": "N/A", "duration": "NaN", "signal": "-", "published_at": "\\N", "explicit": "NA"} for n in range(3)
    ]  # fmt: skip
    path = written(tmp_path / "f", (), as_csv([*values, {**values[0], "user": "NaN"}]))
    how = HistoryOptions(split=SplitOptions("none"), max_damaged=0.5)
    options = mapping("creator=artist", constants=["creator=Nobody"], signals={"-": "skip"})
    _, folder = imported(path, tmp_path / "log", options, how=how, kind="csv")
    item = catalogue_at(folder)["i0"]
    assert (item.title, item.creator, item.tags, item.duration_ms) == ("", "Nobody", (), None)
    assert item.published_at == UNKNOWN_PUBLISHED_AT
    assert {row.session_id.split("-")[0] for row in folder.listens()} == {"session"}
    assert [(row.user_id, row.signal) for row in folder.listens()] == [(f"{n}", "skip") for n in range(3)]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_listener_called_none_is_possible(tmp_path, kind):
    values = [{"user": "None", "item": "NULL", "at": S0 + n} for n in range(3)]
    path = written(tmp_path / "f", values, as_csv(values) if kind == "csv" else None)
    options = MappedOptions(missing=frozenset({"NaN"})) if kind == "csv" else None
    _, folder = imported(path, tmp_path / "log", options, kind=kind)
    assert {(row.user_id, row.item_id) for row in folder.listens()} == {("None", "NULL")}


def test_a_word_for_no_value_in_a_file_of_items(tmp_path):
    items = written(tmp_path / "items", (), "id,title\ni0,NaN\nNaN,Song\n")
    path = written(tmp_path / "f", (), as_csv(rows(3)))
    how = HistoryOptions(split=SplitOptions("none"), max_damaged=0.5)
    manifest, folder = imported(path, tmp_path / "log", MappedOptions(items_file=items), how=how, kind="csv")
    assert set(catalogue_at(folder)) == {"i0", "i1", "i2"}
    assert catalogue_at(folder)["i0"].title == ""
    assert f"{items}:3: expected item to have 1 to 256 characters, got 'NaN', a word for no value" in manifest.notes[0]


@pytest.mark.parametrize("first", [f"u0,{S0},i0", "A,B,Song,05 Jan 2026 00:58", "A,B,2026-01-05T00:58:00Z"])
@pytest.mark.parametrize("options", [MappedOptions(), mapping("user=who")])
def test_a_table_without_a_header_is_told_what_it_needs(tmp_path, first, options):
    path = written(tmp_path / "f", (), f"{first}\n{first}\n")
    with pytest.raises(DataError) as caught:
        imported(path, tmp_path / "log", options, kind="csv")
    columns = first.replace(",", ", ")
    assert f"has {columns}: a row and no names, if the file has no header; name the columns, as --columns" in str(
        caught.value
    )


@pytest.mark.parametrize("name", ["data", "items"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_around_the_rows_is_named(tmp_path, name, indent):
    path = written(tmp_path / "f", (), json.dumps({name: rows(9), "next": None}, indent=indent))
    words = f"has {name}, next; the rows are inside {name}: write them to a file, as `jq -c '.{name}[]' FILE` does"
    plays = written(tmp_path / "plays", rows(3))
    tries = [
        (path, MappedOptions()), (path, mapping("user=user_id")), (plays, MappedOptions(items_file=path)),
    ]  # fmt: skip
    for source, options in tries:
        with pytest.raises(DataError) as caught:
            imported(source, tmp_path / "log", options)
        assert words in str(caught.value)


def test_the_columns_found_are_listed_without_a_hint_where_there_is_none(tmp_path):
    path = written(tmp_path / "f", [{"who": "u", "tracks": [{"id": 1}, {"id": 2}], "when": S0}])
    with pytest.raises(DataError, match=r"--map user=…; the file has who, tracks, when$"):
        imported(path, tmp_path / "log")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_damaged_rows_are_named_in_the_order_of_the_file(tmp_path, kind):
    good = as_csv(rows(99)).splitlines() if kind == "csv" else list(map(json.dumps, rows(99)))
    bad = [",i,1", "short", ",i,1", "short"] if kind == "csv" else ['{"user": ""}', "[", '{"user": ""}', "["]
    path = written(tmp_path / "f", (), "\n".join([*good[:50], *bad, *good[50:]]))
    how = HistoryOptions(split=SplitOptions("none"), max_damaged=1.0)
    manifest, _ = imported(path, tmp_path / "log", how=how, kind=kind)
    assert [int(line) for line in re.findall(r"/f:(\d+): ", manifest.notes[0])] == [51, 52, 53, 54]


def test_a_stray_quote_costs_one_row_of_plays_and_of_items(tmp_path):
    plays = [f"u{n % 30}\t{S0 + 400 * n}\tArt{n % 5}\tSong {n % 50}\tt{n}" for n in range(2_000)]
    plays[900] = f'u0\t{S0 + 400 * 900}\tArt4\t"Unfinished\tt900'
    text = "\n".join(["user\tts\tartist\ttrack\titem", *plays])
    items = ["id\ttitle", *(f"t{n}\tSong {n}" for n in range(2_000))]
    items[301] = 't300\t"Unfinished too'
    options = MappedOptions(items_file=written(tmp_path / "items", (), "\n".join(items)))
    manifest, folder = imported(written(tmp_path / "f", (), text), tmp_path / "log", options, kind="csv")
    assert manifest.counts.listens == 1_999
    assert manifest.counts.items == 2_000
    assert f"{tmp_path / 'items'}:302: expected a field that begins with a quote" in manifest.notes[0]
    assert f"{tmp_path / 'f'}:902: expected a field that begins with a quote" in manifest.notes[0]
    assert catalogue_at(folder)["t300"].title == "Song 0"


def test_an_items_file_that_can_be_read_does_not_hide_plays_that_cannot(tmp_path):
    items = written(tmp_path / "items", [{"id": f"i{n}"} for n in range(20)])
    path = written(tmp_path / "f", (), "no JSON\n" * 5_000)
    with pytest.raises(DataError, match="none of the first 1,000 rows can be read"):
        imported(path, tmp_path / "log", MappedOptions(items_file=items))


def test_events_with_ids_are_distinguished_only_by_id(tmp_path):
    values = [{**rows(1)[0], "event_id": name} for name in ("a", "b", "a")]
    _, folder = imported(written(tmp_path / "f", values), tmp_path / "log")
    assert [row.event_id for row in folder.listens()] == ["a", "b"]


def test_ids_that_differ_only_by_normalization_are_two_listeners_and_a_note(tmp_path):
    ids = ["J\u00f6rg", "Jo\u0308rg", "Ren\u00e9", "ann", "Ann"]
    values = [{"user": user, "item": f"i{n}", "at": S0 + n} for n, user in enumerate([*ids, *ids])]
    manifest, folder = imported(written(tmp_path / "f", values), tmp_path / "log")
    assert {row.user_id for row in folder.listens()} == set(ids)
    (note,) = (note for note in manifest.notes if "normalization" in note)
    assert note.startswith("1 listener kept apart from another whose id differs only by Unicode normalization")
    assert "rg" in note
    manifest, _ = imported(written(tmp_path / "g", [row for row in values if row["user"] != ids[1]]), tmp_path / "log2")
    assert not any("normalization" in note for note in manifest.notes)


def many(users=12, plays=40):
    return [
        {
            "user": f"u{u}",
            "item": f"i{(u * 7 + n * n) % 60}",
            "at": S0 + u * 977 + n * (240 if n % 8 else 7_200) * (1 + n // 8),
        }
        for u in range(users)
        for n in range(plays)
    ]


@pytest.mark.parametrize("split", ["last", "session", "time"])
def test_splits_are_sound_and_understood(tmp_path, split):
    how = HistoryOptions(split=SplitOptions(split))
    manifest, folder = imported(written(tmp_path / "f", many()), tmp_path / "log", how=how)
    sequences = training_sequences(folder)
    assert (sequences.test >= 0).sum() == manifest.counts.heldout_test > 0
    assert sum(map(len, sequences.train)) < sum(map(len, sequences.history))
    listens, starts = list(folder.listens()), {start.session_id: start for start in folder.sessions()}
    for row in folder.heldout():
        if row.role == "valid":
            continue
        own = [listen.at for listen in listens if listen.user_id == row.user_id]
        assert max(own, default=0) <= starts[row.session_id].at <= row.at
    if split == "time":
        cuts = manifest.cuts
        assert all(listen.at < cuts["test_from"] for listen in listens)
        assert sum(map(len, sequences.train)) == sum(listen.at < cuts["valid_from"] for listen in listens)
        assert manifest.counts.listens / len(many()) == pytest.approx(0.9, abs=0.02)


def test_a_cut_in_time_binds_listeners_without_a_validation_target_too(tmp_path):
    values = [
        {"user": "u", "item": f"i{n}", "at": S0 + 60 * n, "signal": "skip" if 5 < n < 8 else "listen"} for n in range(9)
    ]
    split = SplitOptions("time", valid_from=(S0 + 60 * 6) * 1_000, test_from=(S0 + 60 * 8) * 1_000)
    _, folder = imported(written(tmp_path / "f", values), tmp_path / "log", how=HistoryOptions(split=split))
    sequences = training_sequences(folder)
    assert [len(rows) for rows in sequences.train] == [6]
    assert [len(rows) for rows in sequences.history] == [8]
    with pytest.raises(DataError, match="split session: expected a listener with something to hold out"):
        imported(tmp_path / "f", tmp_path / "log2", how=HistoryOptions(split=SplitOptions("session")))
    with pytest.raises(DataError, match="split time: expected plays before valid_from"):
        imported(tmp_path / "f", tmp_path / "log2", how=HistoryOptions(split=SplitOptions("time", valid_from=1)))


def test_cuts_outside_the_data_say_where_the_data_are(tmp_path):
    path = written(tmp_path / "f", many())
    late = SplitOptions("time", test_from=(S0 + 300 * 86_400) * 1_000)
    with pytest.raises(DataError) as caught:
        imported(path, tmp_path / "log", how=HistoryOptions(split=late))
    assert "expected plays at or after test_from" in str(caught.value)
    assert "test_from 1793491200000 (2026-11-01 00:00:00 UTC)" in str(caught.value)
    last_at = max(row["at"] for row in many()) * 1_000
    assert f"the last play is at {last_at} (2026-01-18 10:59:07 UTC)" in str(caught.value)
    early = SplitOptions("time", valid_from=1)
    with pytest.raises(DataError, match=r"the first play is at 1767571200000 \(2026-01-05 00:00:00 UTC\)"):
        imported(path, tmp_path / "log", how=HistoryOptions(split=early))


def test_memory_does_not_change_the_folder(tmp_path):
    path = written(tmp_path / "f", many())
    made = [
        imported(path, tmp_path / str(memory), how=HistoryOptions(memory_bytes=memory))[0].identity
        for memory in (20_000, 256 << 20)
    ]
    assert made[0] == made[1]
    assert sorted(inside.name for inside in tmp_path.iterdir()) == ["20000", "268435456", "f"]


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("1960", -315_619_200_000),
        (1999, 915_148_800_000),
        ("2026-01-05", S0 * 1_000),
        (S0 * 1_000, S0 * 1_000),
        (S0, S0 * 1_000),
        (str(S0 * 1_000_000), S0 * 1_000),
        ("9999-12-31", UNKNOWN_PUBLISHED_AT),
        (10**30, UNKNOWN_PUBLISHED_AT),
    ],
)
def test_units_of_publications_are_told_by_their_size(tmp_path, value, at):
    path = written(tmp_path / "f", rows(1, published_at=value))
    _, folder = imported(path, tmp_path / "log")
    assert catalogue_at(folder)["i0"].published_at == at


HUGE = 10**400


@pytest.mark.parametrize(
    "row",
    [
        {"at": 1e306},
        {"at": S0, "duration": 1e306},
        {"at": S0, "duration": 1e18},
        {"at": S0, "published_at": "soon"},
        {"at": HUGE},
        {"at": str(HUGE)},
        {"at": S0, "duration": HUGE},
        {"at": S0, "listened": HUGE},
        {"at": S0, "published_at": HUGE},
        {"at": S0, "signal": HUGE},
        {"at": S0, "kind": HUGE},
        {"at": S0, "explicit": HUGE},
        {"at": S0, "user": HUGE},
        {"at": S0, "user": {"id": HUGE}},
        {"at": S0, "session": HUGE},
    ],
)
def test_numbers_beyond_all_measure_are_damage(tmp_path, row):
    known = {"published_at": 2020, "signal": "like", "kind": "track", "explicit": False, "session": 1, "listened": 100}
    path = written(tmp_path / "f", [*rows(3, duration=200, **known), {"user": "u", "item": "i", **row}])
    how = HistoryOptions(split=SplitOptions("none"), max_damaged=0.5)
    manifest, _ = imported(path, tmp_path / "log", how=how)
    assert manifest.counts.listens == 3
    assert f"{path}:4: expected" in manifest.notes[0]
    assert len(manifest.notes[0]) < 300 + len(str(path))


@pytest.mark.parametrize("unit", ["auto", "s", "iso"])
@pytest.mark.parametrize("value", [HUGE, str(HUGE), 1e300, "x" * 400])
def test_long_values_are_not_echoed_whole(tmp_path, unit, value):
    path = written(tmp_path / "f", [{"user": "u", "item": "i", "at": value}] * 3)
    with pytest.raises(DataError) as caught:
        imported(path, tmp_path / "log", mapping(at_unit=unit))
    assert len(str(caught.value)) < 500 + len(str(path))


def test_plays_from_the_first_moment_that_records_take(tmp_path):
    """Session-starts and items, which come a little before the plays, must not lie before 2000."""
    first = 946_684_800
    values = [{"user": "u", "item": f"i{n}", "at": first + n, "listened": 300} for n in range(6)]
    how = HistoryOptions(split=SplitOptions("last"))
    _, folder = imported(written(tmp_path / "f", values), tmp_path / "log", how=how)
    assert min(row.at for row in folder.merged()) == first * 1_000
