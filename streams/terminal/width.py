"""Display width of text, and shortening, wrapping and padding by it.

Widths are upper bounds: a joined emoji counts as all of its parts, because terminals that cannot join them draw each.
A row may then be padded too little, but is never wider than measured.
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
        return 1  # selects the wide form of the preceding character
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
        width: Largest width.
        ellipsis: Replaces the omitted text; one column.
        cut: Where to shorten: ids differ at both ends, so they are cut in the middle.

    Returns:
        Text of at most that width; `text` itself if it fits.
    """
    if text_width(text) <= width:
        return text
    if width <= 1:
        return ellipsis[:width]
    tail_width = (width - 1) // 2 if cut == "middle" else 0
    head = _head(text, width - 1 - tail_width)
    return head + ellipsis + _tail(text, tail_width)


def fold(text: str, width: int, *, whole_words: bool = False) -> list[str]:
    """Wrap text into lines of a width, at spaces if possible.

    Args:
        text: One line.
        width: Width of a line, at least 2.
        whole_words: Leave a word wider than a line whole, on a line of its own: a path that is broken cannot be copied.

    Returns:
        At least one line; a word wider than a line is broken unless `whole_words`.
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
    """Pad text with spaces.

    Args:
        text: One line, not wider than `width`.
        width: Resulting width.
        right: Whether to align it to the right.

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
            # A trailing joiner would combine with the character that follows.
            return text[:place].rstrip("\u200d\u200c")
    return text


def _tail(text: str, width: int) -> str:
    start, taken = len(text), 0
    while start > 0:
        taken += char_width(text[start - 1])
        if taken > width:
            break
        start -= 1
    while start < len(text) and char_width(text[start]) == 0:  # combining marks without their letter
        start += 1
    return text[start:]
