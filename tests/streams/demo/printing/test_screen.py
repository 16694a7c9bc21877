import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from sidestream.streams.demo.printing.screen import Column, Screen

COLUMNS = (
    Column("when", drop=2),
    Column("SID"),
    Column("item", is_text=True),
    Column("by", is_text=True),
    Column("heard", drop=1),
)
ROWS = [
    ("2026-01-25 11:19", "61-93-40", "Wandering Compass, a title that goes on and on and on", "Camly Zabel", "94%"),
    ("2026-01-25 11:15", "161-115-134", "星の王子さまと砂漠の長い長い長い旅", "\x1b[31mred\x1b[0m", ""),
]


def screen_of(width):
    written = io.StringIO()
    return Screen(Console(file=written, width=width, highlight=False, soft_wrap=True)), written


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 140])
def test_no_row_is_wider_than_the_window(width):
    screen, written = screen_of(width)
    screen.table(COLUMNS, ROWS, indent=2)
    screen.text("word " * 60, indent=2)
    screen.say("word " * 60)
    lines = written.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines[:3]) == len([line for line in lines[:3] if line.startswith("  ")])


def test_columns_go_by_priority_and_ids_are_never_cut():
    for width, gone in ((80, ()), (50, ("when",)), (32, ("when", "heard"))):
        screen, written = screen_of(width)
        screen.table(COLUMNS, ROWS)
        head, _, last = written.getvalue().splitlines()
        assert all(name not in head for name in gone)
        assert "161-115-134" in last
        assert "item" in head


def test_control_characters_in_titles_reach_no_terminal():
    screen, written = screen_of(80)
    screen.table(COLUMNS, ROWS)
    screen.text("a\x07b")
    screen.say("[bold]c\x1b[2J")
    assert not any(ord(char) < 32 and char != "\n" for char in written.getvalue())
    assert "[bold]c·[2J" in written.getvalue()


def test_commands_to_copy_and_paths_are_not_wrapped():
    screen, written = screen_of(40)
    screen.verbatim("x" * 100)
    screen.text("see /a/" + "y" * 60)
    assert "x" * 100 in written.getvalue()
    assert "y" * 60 in written.getvalue()


def test_what_is_said_carries_the_time():
    written = io.StringIO()
    clock = iter((10.0, 12.5))
    Screen(Console(file=written, width=80), seconds=lambda: next(clock)).say("broker: up")
    assert written.getvalue() == "   2.5 s  broker: up\n"
