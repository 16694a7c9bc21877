"""Times of own plays: names of months, given formats, and the cause where a time cannot be read."""

import json

import pytest

from sidestream.models.data import LogFolder
from sidestream.models.data.importers.histories import (
    FieldMap,
    HistoryOptions,
    MappedHistory,
    MappedOptions,
    import_history,
)
from sidestream.models.data.importers.histories.units import read_at
from sidestream.models.data.plays import SplitOptions
from sidestream.models.errors import DataError
from tests.models.data.importers.histories.test_mapped import NOW_MS, S0
from tests.models.log_catalogue import catalogue_at

AT = S0 * 1_000
NONE = HistoryOptions(split=SplitOptions("none"))


def imported(tmp_path, text, options=None, kind="csv"):
    (tmp_path / "f").write_text(text)
    history = MappedHistory(tmp_path / "f", kind, options)
    manifest = import_history(history, tmp_path / "log", NONE, now_ms=lambda: NOW_MS)
    return manifest, list(LogFolder(tmp_path / "log").listens())


@pytest.mark.parametrize(
    "text",
    [
        "05 Jan 2026 00:00",
        "05 Jan 2026, 00:00",
        "5 January 2026 00:00:00",
        "05-Jan-2026 00:00",
        "5 Sept 2025 00:00",
        "Mon, 05 Jan 2026 00:00:00 GMT",
        "Mon, 05 Jan 2026 01:00:00 +0100",
        "Mon Jan 05 2026 00:00:00 GMT+0000",
        "Jan 5, 2026, 12:00 AM",
        "January 5, 2026 at 12:00 am",
        "05 jan 2026",
    ],
)
def test_a_date_with_the_name_of_the_month_is_read(text):
    assert read_at(text, "iso") == (AT if "Sept" not in text else 1_757_030_400_000)


def test_the_second_half_of_a_day():
    assert [read_at(f"Jan 5, 2026 {time}", "iso") - AT for time in ("12:30 PM", "1:00pm", "11:59:59 PM")] == [
        45_000_000, 46_800_000, 86_399_000,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "30 Feb 2026 10:00",
        "5 Ja 2026",
        "5 Foo 2026",
        "5 Jan 26",
        "5 Jan 2026 25:00",
        "Jan 5, 2026 13:00 PM",
        "5 Jan 2026 CET",
    ],
)
def test_what_only_looks_like_such_a_date_is_refused(text):
    with pytest.raises(ValueError, match="expected an ISO 8601 time"):
        read_at(text, "iso")


PLAYS = [("Radiohead", "OK Computer", "Airbag", 0), ("Beck", "Odelay", "Hotwax", 3_600), ("Beck", "", "Minus", 7_260)]


@pytest.mark.parametrize("comma", ["", ","])
def test_the_exports_of_last_fm(tmp_path, comma):
    """`artist,album,track,date`, with and without a header, and `uts,utc_time,…`."""
    lines = [
        f'{artist},{album},{track},"05 Jan 2026{comma} {second // 3600:02}:{second // 60 % 60:02}"'
        for artist, album, track, second in PLAYS
    ]
    expected = [AT + second * 1_000 for _, _, _, second in PLAYS]
    for header, columns in (("artist,album,track,date\n", ()), ("", ("creator", "show", "title", "at"))):
        manifest, listens = imported(tmp_path, header + "\n".join(lines), MappedOptions(user="me", columns=columns))
        assert [row.at for row in listens] == expected
        assert manifest.counts.items == 3
        assert manifest.settings["at_unit"] == "iso"
        (tmp_path / "log").rename(tmp_path / f"log{len(columns)}")
    with pytest.raises(DataError, match=r"f: expected a column or path for user, at; .*--columns"):
        imported(tmp_path, "\n".join(lines))
    rows = [
        f'{S0 + second},"05 Jan 2026, {second // 3600:02}:{second // 60 % 60:02}",{artist},,{album},,{track},'
        for artist, album, track, second in PLAYS
    ]
    header = "uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\n"
    manifest, listens = imported(tmp_path, header + "\n".join(rows), MappedOptions(user="me"))
    assert [row.at for row in listens] == expected
    assert (manifest.settings["map"]["at"], manifest.settings["at_unit"]) == ("uts", "s")


@pytest.mark.parametrize(
    ("text", "time_format"),
    [
        ("05.01.2026 01:58:06", "%d.%m.%Y %H:%M:%S"),
        ("01/05/2026 01:58 AM", "%m/%d/%Y %I:%M %p"),
        ("5/1/26", "%d/%m/%y"),
        ("20260105015806", "%Y%m%d%H%M%S"),
        ("05.01.2026 02:58:06 +0100", "%d.%m.%Y %H:%M:%S %z"),
    ],
)
def test_times_in_a_given_format(tmp_path, text, time_format):
    text_of = "user,item,at\n" + "".join(f"u,i{n},{text}\n" for n in range(3))
    manifest, listens = imported(tmp_path, text_of, MappedOptions(at_unit=time_format))
    assert {row.at // 86_400_000 for row in listens} == {AT // 86_400_000}
    assert {row.at - AT for row in listens} <= {0, 7_086_000, 7_080_000}
    assert manifest.settings["at_unit"] == time_format
    assert time_format in manifest.clock.statement


@pytest.mark.parametrize("time_format", ["%H:%M", "%d.%m. %H:%M", "%Q", "%d.%m.%Y %", "%d.%m.%Y %H:%M %Z"])
def test_a_format_that_gives_no_moment_is_refused(time_format):
    with pytest.raises(DataError, match="--at-format: expected a format of Python's strptime with year, month and day"):
        MappedHistory("f", "csv", MappedOptions(at_unit=time_format))


def test_a_format_that_does_not_fit_is_refused(tmp_path):
    text = "user,item,at\n" + "u,i,05.01.2026\n" * 3
    with pytest.raises(DataError, match=r"f: --at-format %m/%d/%Y does not fit: '05.01.2026' gives"):
        imported(tmp_path, text, MappedOptions(at_unit="%m/%d/%Y"))


UNREADABLE = [
    ("05.01.2026 01:58:06", "say which is which: --at-format '%d.%m.%Y %H:%M:%S'"),
    ("01/05/2026 01:58 AM", "--at-format '%d/%m/%Y %I:%M %p' or '%m/%d/%Y %I:%M %p'"),
    ("13/1/26", "--at-format '%d/%m/%y' or '%m/%d/%y'"),
    ("05-01-2026, 01:58pm", "--at-format '%d-%m-%Y, %I:%M%p' or '%m-%d-%Y, %I:%M%p'"),
    ("46027.082014", "looks like a spreadsheet's number of 2026-01-05 01:58; give the column the format yyyy-mm-dd"),
    ("46027", "looks like a spreadsheet's number of 2026-01-05 00:00"),
    ("1.77E+09", "rounded by the display format of a spreadsheet; give the column a number format without exponent"),
    ("1.76723E+12", "rounded by the display format of a spreadsheet"),
    ("1.767233e+09", "rounded by the display format of a spreadsheet"),
    ("2026-01-05T04:14:26 Europe/Berlin", "the zone Europe/Berlin is a name; expected UTC or an offset such as +01:00"),
    ("2026-01-05T04:14:26+01:00[Europe/Berlin]", "the zone Europe/Berlin is a name"),
    ("2026-01-05 04:14:26 CET", "the zone CET is a name"),
    ("1,767,571,200", "a number with separators; expected digits, with a point before decimals"),
    ("1767571200,5", "a number with separators"),
]


@pytest.mark.parametrize(("text", "words"), UNREADABLE)
@pytest.mark.parametrize("unit", ["auto", "s", "iso"])
def test_times_that_cannot_be_read_are_refused_with_the_cause(tmp_path, unit, text, words):
    with pytest.raises(DataError) as caught:
        imported(tmp_path, "user;item;at\n" + f"u;i;{text}\n" * 3, MappedOptions(at_unit=unit))
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "words"), UNREADABLE)
def test_a_row_whose_time_cannot_be_read_names_the_cause(tmp_path, text, words):
    rows = [{"user": "u", "item": "i", "at": value} for value in (S0, S0 + 1, text)]
    if text[:2] == "46":
        words = "got 1970-01-01"
    with pytest.raises(DataError) as caught:
        imported(tmp_path, "\n".join(map(json.dumps, rows)), kind="jsonl")
    assert f"{tmp_path / 'f'}:3: expected" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (f"{S0:.9e}", "s"),
        (f"{S0 + 7:.9E}", "s"),
        (f"{S0 * 1_000:.9E}", "ms"),
        (f"{float(S0 * 10**9)!r}", "ns"),
        ("1.7675712E9", "s"),
        ("1.3856832E9", "s"),
    ],
)
def test_an_exponent_alone_is_not_rounded(text, unit):
    """Java, JavaScript and Python write whole numbers so; those that end in zeros lose them."""
    assert read_at(text, unit) == float(text) * {"s": 1_000, "ms": 1, "ns": 1e-6}[unit]


def test_a_column_in_another_unit_than_most_rows_says_which(tmp_path):
    text = "user,item,at\n" + "".join(f"u,i{n},{(S0 + n) * (1 if n else 1_000)}\n" for n in range(3))
    with pytest.raises(DataError, match=f"any calendar; '{AT}' looks like ms, not s"):
        imported(tmp_path, text)


def test_items_were_published_on_a_date_with_the_name_of_the_month(tmp_path):
    row = {"user": "u", "item": "i", "at": S0, "released": "05 Jan 2026"}
    imported(tmp_path, json.dumps(row), MappedOptions(FieldMap.parse(["published=released"], [])), kind="jsonl")
    assert catalogue_at(LogFolder(tmp_path / "log"))["i"].published_at == AT
