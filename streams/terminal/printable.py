r"""Escapes text from records for a terminal: characters that control it, or hide or reorder text.

Ids, titles, headers and keys come from other systems. Printed unescaped, an escape sequence can move the cursor, rename
the window or paste into the shell, a bidirectional override can show `gpj.exe` as `exe.jpg`, and a line feed can forge
a second line. Escapes have the form of Python and JSON: `\x1b`, `\u202e`, `\n`.
"""

import json
import re
import unicodedata
from typing import Any

# A base letter with more combining marks than this only serves to overflow its line; Vietnamese and Hebrew need three.
MAX_MARKS = 4
TAB_COLUMNS = 8

_JOINERS = "\u200c\u200d"
# Letters without a glyph: Hangul fillers, and the Khmer inherent vowels.
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_EMOJI_FIRST, _EMOJI_LAST = 0x1F000, 0x1FAFF
_SELECTORS = ("\ufe0e", "\ufe0f")
# In JSON these can only occur in strings: the syntax is ASCII.
_CONTROLS = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def printable(text: str, *, lines: bool = False) -> str:
    """Escape characters that should not be sent to a terminal.

    Kept: letters of all scripts, their first combining marks, emoji with their joiners, spaces that have a width.
    Escaped: control characters, bidirectional controls, zero-width characters, lone surrogates, stacked marks.

    Args:
        text: Any text.
        lines: Whether to keep line feeds and expand tabs; for text that is shown as a separate block.

    Returns:
        Text that is safe to print; equal to `text` for ordinary words.
    """
    if text.isascii() and text.isprintable():
        return text
    if lines:
        return "\n".join(printable(line.expandtabs(TAB_COLUMNS)) for line in text.split("\n"))
    pieces: list[str] = []
    marks = MAX_MARKS  # a mark at the start would combine with the character printed before it
    for place, char in enumerate(text):
        category = unicodedata.category(char)
        if category in ("Mn", "Me"):
            marks += 1
            pieces.append(char if marks <= MAX_MARKS else _escaped(char))
        elif _is_shown(char, category) or (char in _JOINERS and _joins(text, place)):
            marks = marks if char in _JOINERS else 0
            pieces.append(char)
        else:
            marks = MAX_MARKS
            pieces.append(_escaped(char))
    return "".join(pieces)


def exact_json(value: Any) -> str:
    r"""Encode JSON on one line that is exactly `value` and also safe on a terminal.

    Args:
        value: Any JSON value.

    Returns:
        The text; characters that control a terminal are written as `\uXXXX`.
    """
    return _CONTROLS.sub(_json_escape, json.dumps(value, ensure_ascii=False))


def _is_shown(char: str, category: str) -> bool:
    if char in _INVISIBLE_LETTERS:
        return False
    if category == "Cn":  # emoji that are newer than this Python's tables
        return _EMOJI_FIRST <= ord(char) <= _EMOJI_LAST
    return category not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _joins(text: str, place: int) -> bool:
    """Whether a joiner is inside a word or an emoji, where scripts need it; never next to ASCII."""
    if not 0 < place < len(text) - 1:
        return False
    before, after = text[place - 1], text[place + 1]
    if before in _SELECTORS and place > 1:
        before = text[place - 2]
    return all(
        not c.isascii() and unicodedata.category(c) in ("Lo", "Lm", "Mn", "Mc", "So", "Sk") for c in (before, after)
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _json_escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f"
