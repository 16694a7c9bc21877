"""Hostile text from records through every view: nothing of it reaches the terminal, and nobody prints otherwise."""

import ast
import json
from pathlib import Path

import pytest

from sidestream.streams.cli.output import print_facts, print_json, print_rows
from sidestream.streams.cli.views.letters import print_letter
from tests.streams.cli.views.every_view import LINES, TABLES, letter
from tests.streams.cli.views.pseudo_terminal import SGR, shown

ROOT = Path(__file__).resolve().parents[4]
HOSTILE = {
    "escape sequence": "\x1b[31mred\x1b]0;title\x07",
    "C1 control": "\x9b31m\x85",
    "controls": "a\x00\x08\x7f\r",
    "line feeds": "a\nerror: forged\n",
    "tab": "a\tb",
    "bidi override": "invoice\u202egpj.exe\u2066",
    "zero width": "ad\u200bmin\u2060\ufeff\u00ad",
    "line separators": "a\u2028b\u2029c",
    "tag characters": "x\U000e0041\U000e007f",
    "lone surrogate": "\ud83d",
    "markup": "[red]x[/red] [/bold] [link=http://x]y[/link] :smile:",
}
STEERING = set("\x00\x07\x08\x1b\x7f\x85\x9b\r\t\u202e\u2066\u200b\u2060\ufeff\u00ad\u2028\u2029\U000e0041\U000e007f")


@pytest.mark.parametrize("name", [*TABLES, *LINES])
def test_nothing_hostile_reaches_the_terminal(name, monkeypatch) -> None:
    draw = {**TABLES, **LINES}[name]
    for kind, text in HOSTILE.items():
        seen = SGR.sub("", shown(lambda text=text: draw(text), monkeypatch, 120))
        assert not STEERING & set(seen), kind
        assert not any(0xD800 <= ord(char) < 0xE000 for char in seen), kind
        if name != "text":  # a block of its own may have lines
            assert not any(line.startswith("error: forged") for line in seen.splitlines()), kind


@pytest.mark.parametrize("name", ["state get", "dlq show", "config show", "say", "error", "log"])
def test_markup_is_text(name, monkeypatch) -> None:
    seen = shown(lambda: {**TABLES, **LINES}[name](HOSTILE["markup"]), monkeypatch, 200)
    assert HOSTILE["markup"] in SGR.sub("", seen)


@pytest.mark.parametrize("kind", HOSTILE)
def test_json_stays_exact(kind, capsys) -> None:
    text = HOSTILE[kind]
    print_json({"a": text})
    print_facts({"a": text}, as_json=True)
    print_rows([{"a": text}], ["a"], as_json=True)
    one, two, three = capsys.readouterr().out.splitlines()
    assert json.loads(one) == json.loads(two) == {"a": text}
    assert json.loads(three) == [{"a": text}]
    assert not STEERING & set(one + two + three)
    if kind != "lone surrogate":
        print_letter(letter("x", text.encode()), as_json=True)
        assert json.loads(capsys.readouterr().out)["value"]["text"] == text


def test_commands_print_through_the_views_alone() -> None:
    """Whoever prints by another way prints unescaped."""
    ways = {"print", "echo", "secho", "writelines", "style"}
    wrong = []
    for path in sorted((ROOT / "streams" / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name in ways or (name == "write" and "output.py" not in path.name):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert not wrong
