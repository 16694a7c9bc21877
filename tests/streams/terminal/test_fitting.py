"""Fitting columns to a width."""

import io

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidestream.streams.terminal.fitting import GAP, Column, Fitted, fit
from sidestream.streams.terminal.screen import Screen
from sidestream.streams.terminal.tables import row_line

COLUMNS = [
    Column("item", kind="id", priority=0),
    Column("title", priority=1, least=10),
    Column("score", kind="number", priority=3),
    Column("offset", kind="number", priority=5),
    Column("key", kind="id", priority=4),
]


def test_columns_of_low_priority_are_dropped_first_and_named() -> None:
    fitted = fit(COLUMNS, [12, 40, 6, 8, 20], 38)
    assert [column.key for column in fitted.columns] == ["item", "title", "score"]
    assert fitted.hidden == ("offset", "key")
    assert sum(fitted.widths) + 2 * GAP <= 38


def test_nothing_is_shortened_without_a_width() -> None:
    fitted = fit(COLUMNS, [300, 400, 6, 8, 20], None)
    assert (fitted.widths, fitted.hidden) == ((300, 400, 6, 8, 20), ())


def test_the_id_of_a_row_is_kept_in_full_up_to_half_of_the_line() -> None:
    fitted = fit(COLUMNS, [38, 200, 6, 8, 20], 80)
    assert fitted.widths[0] == 38


def test_a_long_text_does_not_shorten_the_others() -> None:
    fitted = fit(COLUMNS, [12, 500, 6, 8, 9], 80)
    assert fitted.widths[0] == 12
    assert fitted.widths[2:] == (6, 8, 9)


def test_ids_are_whole_before_texts_get_more_than_their_least() -> None:
    columns = [Column("user", kind="id", priority=0, least=12), Column("item", kind="id", priority=2), Column("title")]
    assert fit(columns, [18, 20, 200], 60).widths == (18, 20, 60 - 18 - 20 - 2 * GAP)
    narrow = fit(columns, [18, 20, 200], 18 + 8 + 8 + 2 * GAP)
    assert narrow.widths[0] == 18
    assert sum(narrow.widths) + 2 * GAP == 38


# Generating columns is slow on a busy machine.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.builds(
            Column,
            st.text("abcdefgh", min_size=1, max_size=12),
            kind=st.sampled_from(["text", "id", "number", "time"]),
            priority=st.integers(0, 4),
            least=st.none() | st.integers(1, 30),
            most=st.none() | st.integers(1, 40),
        ),
        min_size=1,
        max_size=9,
    ),
    st.data(),
    st.integers(20, 200),
    st.booleans(),
)
def test_a_row_fits_for_any_columns(columns, data, width, fill) -> None:
    naturals = [data.draw(st.integers(1, 300)) for _ in columns]
    fitted = fit(columns, naturals, width, fill=fill)
    assert fitted.columns
    assert sum(fitted.widths) + GAP * (len(fitted.widths) - 1) <= width
    assert len(fitted.columns) + len(fitted.hidden) == len(columns)
    assert all(each >= 1 for each in fitted.widths)


def test_times_lose_their_year_and_then_their_day() -> None:
    time = Column("time", kind="time", least=8)
    screen = Screen(lambda: io.StringIO(), {"COLUMNS": "80"})
    for width, expected in ((19, "2026-11-30 13:39:10"), (15, "11-30 13:39:10"), (13, "13:39:10"), (7, "2026-1…")):
        assert row_line(screen, Fitted((time,), (width,), ()), ["2026-11-30 13:39:10"]) == expected
