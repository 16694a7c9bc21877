"""What commands print: data is never taken for markup."""

import json

from streams.cli.output import fail, print_facts, print_json, print_rows

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
