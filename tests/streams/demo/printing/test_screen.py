import pytest

from sidestream.streams.terminal import Column
from sidestream.streams.terminal.width import text_width
from tests.streams.demo.printing.screens import screen_of

COLUMNS = (
    Column("at", "when", "time", priority=2),
    Column("sid", "SID", "id", priority=0),
    Column("item", priority=0),
    Column("by", priority=0),
    Column("heard", priority=1),
)
ROWS = [
    {
        "at": 1_769_339_940_000,
        "sid": "61-93-40",
        "item": "Wandering Compass, a title that goes on and on and on",
        "by": "Camly Zabel",
        "heard": "94%",
    },
    {
        "at": 1_769_339_700_000,
        "sid": "161-115-134",
        "item": "星の王子さまと砂漠の長い長い長い旅",
        "by": "\x1b[31mred\x1b[0m",
        "heard": "",
    },
]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 140])
def test_no_row_is_wider_than_the_window(width):
    screen, written = screen_of(width)
    screen.table(COLUMNS, ROWS, indent=2)
    screen.text("word " * 60, indent=2)
    screen.say("word " * 60)
    lines = written.getvalue().splitlines()
    assert max(map(text_width, lines)) <= width
    assert len(lines[:3]) == len([line for line in lines[:3] if line.startswith("  ")])


def test_columns_go_by_priority_and_ids_are_never_cut():
    for width, gone in ((80, ()), (50, ("when",)), (32, ("when", "heard"))):
        screen, written = screen_of(width)
        screen.table(COLUMNS, ROWS)
        head, _, last, *hidden = written.getvalue().splitlines()
        assert all(name not in head for name in gone)
        assert [line.startswith("hidden at this width: when") for line in hidden] == [True] * bool(gone)
        assert "161-115-134" in last
        assert "item" in head


def test_control_characters_in_titles_reach_no_terminal():
    screen, written = screen_of(80)
    screen.table(COLUMNS, ROWS)
    screen.text("a\x07b")
    screen.say("[bold]c\x1b[2J")
    assert not any(ord(char) < 32 and char != "\n" for char in written.getvalue())
    assert "[bold]c\\x1b[2J" in written.getvalue()


def test_commands_to_copy_and_paths_are_not_wrapped():
    screen, written = screen_of(40)
    screen.verbatim("x" * 100)
    screen.text("see /a/" + "y" * 60)
    assert "x" * 100 in written.getvalue()
    assert "y" * 60 in written.getvalue()


def test_what_is_said_carries_the_time_and_goes_on_below_its_beginning():
    clock = iter((10.0, 12.5))
    screen, written = screen_of(40, seconds=lambda: next(clock))
    screen.say("broker: up, after some seconds of waiting")
    assert written.getvalue() == "   2.5 s  broker: up, after some seconds\n          of waiting\n"


def test_a_file_has_whole_lines():
    screen, written = screen_of(None)
    screen.text("word " * 60)
    screen.table(COLUMNS, ROWS)
    text, head, first, _ = written.getvalue().splitlines()
    assert len(text) == 300
    assert "when" in head
    assert ROWS[0]["item"] in first
