"""What commands print: data is never taken for markup."""

import json

from sidestream.streams.cli.output import fail, print_facts, print_json, print_rows

POISON = "[/bold] [red]x[/red] [link=http://x]y"


def test_data_is_printed_as_it_is(capsys) -> None:
    print_rows([{"key": POISON}], ["key"], as_json=False)
    print_facts({"key": POISON}, as_json=False)
    fail(f"expected {POISON}")
    out, err = capsys.readouterr()
    assert out.count(POISON) == 2
    assert POISON in err


def test_json_is_one_line(capsys) -> None:
    print_json({"key": POISON + "\n"})
    assert json.loads(capsys.readouterr().out) == {"key": POISON + "\n"}


def test_what_a_row_is_called_by_is_shown_whole_however_much_stands_beside_it(capsys) -> None:
    """`dlq list` cut the place of a letter, which `dlq show` wants."""
    place = "user-erasures.v1.dlq/3/123456789"
    words = "segments[0]: empty span: expected end_ms after start_ms 10, got 5 " * 3
    print_rows([{"letter": place, "a": words, "b": words, "c": "z" * 200}], ["letter", "a", "b", "c"], as_json=False)
    out = capsys.readouterr().out
    assert place in out
    assert out.count("z") == 200
    assert "…" not in out


def test_times_are_epochs_for_programs_and_dates_for_people(capsys) -> None:
    rows = [{"died_at": 1_795_403_142_036, "other": 1_795_403_142_036}]
    print_rows(rows, ["died_at", "other"], as_json=False)
    shown = capsys.readouterr().out
    assert "2026-11-23 03:05:42" in shown
    assert "1795403142036" in shown
    print_rows(rows, ["died_at"], as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["died_at"] == 1_795_403_142_036
