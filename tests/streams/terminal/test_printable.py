"""Text from records on terminals: no control, hidden or reordered text; ordinary words of all scripts are unchanged."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.streams.terminal import exact_json, printable

ORDINARY = [
    "So What",
    "Jürgen Ångström",
    "a\u0308 with a combining mark",
    "東京\u3000事変",
    "한국어 노래",
    "שלום עולם",
    "أهلاً",
    "नमस्ते",
    "کتاب\u200cها",
    "👩\u200d💻 ❤\ufe0f 👍🏽 🇩🇪",
    "Tiếng Việt",
    "[red]x[/red] :smile: \\n",
    "a\u00a0b",
]
HOSTILE = {
    "\x1b[31mred": "\\x1b[31mred",
    "\x9b31m": "\\x9b31m",
    "a\nb\tc\rd\x00\x7f": "a\\nb\\tc\\rd\\x00\\x7f",
    "invoice\u202egpj.exe": "invoice\\u202egpj.exe",
    "a\u2066b\u2069": "a\\u2066b\\u2069",
    "ad\u200bmin": "ad\\u200bmin",
    "ad\u200dmin": "ad\\u200dmin",
    "\ufeffx": "\\ufeffx",
    "so\u00adft": "so\\xadft",
    "\u3164": "\\u3164",
    "a\u2028b": "a\\u2028b",
    "\ud800": "\\ud800",
    "\U000e0041": "\\U000e0041",
    "\u0301x": "\\u0301x",
}


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_words_are_left_alone(text) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(("text", "expected"), HOSTILE.items())
def test_controls_and_invisible_characters_are_escaped(text, expected) -> None:
    assert printable(text) == expected


def test_stacked_marks_are_limited() -> None:
    assert printable("z" + "\u0301" * 9) == "z" + "\u0301" * 4 + "\\u0301" * 5


def test_blocks_keep_their_lines_and_nothing_else() -> None:
    assert printable("a\n\tb\x1b", lines=True) == "a\n        b\\x1b"


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_nothing_that_is_printed_controls_the_terminal(text) -> None:
    found = printable(text)
    joiners = {"\u200c", "\u200d"}
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or c in joiners for c in found)
    assert printable(found) == found, "what was escaped is ordinary text"
    written = exact_json({text: text})
    assert json.loads(written) == {text: text}
    assert all(unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in written)
    written.encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_json_stays_exact_and_is_safe_too(text) -> None:
    assert json.loads(exact_json([text])) == [text]
    assert exact_json([text]).encode() == exact_json([text]).encode("utf-8", "strict")
    assert not set(exact_json([text])) & set("\x1b\x9b\n\u202e\u2066\u200b\u200d\ufeff\u00ad\u3164\ud800\U000e0041")
