"""Display width of text, and cutting and folding by it.

Widths are upper bounds: a joined emoji counts as all of its parts, because terminals that cannot join them draw each.
A row may then be padded too little, but is never wider than it was measured.
"""

import unicodedata
from functools import lru_cache
from typing import Literal

Cut = Literal["end", "middle"]
_EMOJI_FIRST, _EMOJI_LAST = 0x1F000, 0x1FAFF
_WIDE_SELECTOR = "\ufe0f"


@lru_cache(4_096)
def char_width(char: str) -> int:
    """Return the columns of one character: 0, 1 or 2."""
    if char == _WIDE_SELECTOR:
        return 1  # asks for the wide form of the character before it
    category = unicodedata.category(char)
    if category in ("Mn", "Me", "Cf", "Cc"):
        return 0
    if unicodedata.east_asian_width(char) in ("W", "F"):
        return 2
    return 2 if category == "Cn" and _EMOJI_FIRST <= ord(char) <= _EMOJI_LAST else 1


def text_width(text: str) -> int:
    """Return the columns of one line of text."""
    return len(text) if text.isascii() else sum(map(char_width, text))


def shorten(text: str, width: int, ellipsis: str = "…", cut: Cut = "end") -> str:
    """Shorten text to a width.

    Args:
        text: One line.
        width: Columns that it may take.
        ellipsis: Stands for what is left out; one column.
        cut: Where: ids differ at their ends, so they are cut in the middle.

    Returns:
        Text of at most that width; the same where it fits.
    """
    if text_width(text) <= width:
        return text
    if width <= 1:
        return ellipsis[:width]
    tail_width = (width - 1) // 2 if cut == "middle" else 0
    head = _head(text, width - 1 - tail_width)
    return head + ellipsis + _tail(text, tail_width)


def fold(text: str, width: int, *, whole_words: bool = False) -> list[str]:
    """Fold text into lines of a width, at spaces where there are some.

    Args:
        text: One line.
        width: Columns of a line, at least 2.
        whole_words: Leave a word wider than a line whole, on a line of its own: a path that is broken cannot be copied.

    Returns:
        Lines, one at least; a word wider than a line is broken unless `whole_words`.
    """
    lines: list[str] = []
    rest = text
    while text_width(rest) > width:
        head = _head(rest, width) or rest[:1]
        space = head.rfind(" ") if rest[len(head)] != " " else len(head)
        if space <= 0 and whole_words:
            space = rest.find(" ", len(head))
            if space < 0:
                break
        if space > 0:
            lines.append(rest[:space])
            rest = rest[space + 1 :]
        else:
            lines.append(head)
            rest = rest[len(head) :]
    return [*lines, rest]


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill text up with spaces.

    Args:
        text: One line, at most that wide.
        width: Columns.
        right: Put the spaces before it.

    Returns:
        Text of that width.
    """
    spaces = " " * (width - text_width(text))
    return spaces + text if right else text + spaces


def _head(text: str, width: int) -> str:
    taken = 0
    for place, char in enumerate(text):
        taken += char_width(char)
        if taken > width:
            # What was begun with a joiner would be drawn as another character.
            return text[:place].rstrip("\u200d\u200c")
    return text


def _tail(text: str, width: int) -> str:
    start, taken = len(text), 0
    while start > 0:
        taken += char_width(text[start - 1])
        if taken > width:
            break
        start -= 1
    while start < len(text) and char_width(text[start]) == 0:  # marks that have lost their letter
        start += 1
    return text[start:]
