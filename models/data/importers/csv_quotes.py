"""The rule for rows of a CSV file that go on over a line end: one row with a text of several lines, or a stray quote.

A quote that does not end where its field ends joins all lines up to the next quote, wherever that is. By the grammar
alone the result may even be one valid row, with a thousand rows in its title. So joined lines are one row only if they
have the right number of fields and do not look like rows themselves.
"""

from collections.abc import Sequence
from itertools import pairwise

# A longer text in a table is a quote that does not end.
MAX_ROW_LINES = 1_000
STRAY_QUOTE = 'expected a field that begins with a quote (") to end with one; a quote inside a text is written twice'


def is_one_row(fields: Sequence[str], lines: Sequence[str], width: int, delimiter: str) -> bool:
    """Return whether joined lines are one row.

    Args:
        fields: Fields of the joined lines.
        lines: The lines; a single one always is one row.
        width: Number of columns.
        delimiter: Delimiter of fields.

    Returns:
        False if the first line has a stray quote, so that the others are rows of their own.
    """
    if len(lines) == 1:
        return True
    first, *rest = (line.split(delimiter) for line in lines)
    if len(fields) != width:
        return False
    alike = sum(len(line) == width and _is_alike(first, line) for line in rest)
    return len(first) < width or 2 * alike <= len(rest)


def _is_alike(first: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether a line has numbers, times and codes, and another line has half of them in the same places."""
    found = [_is_code(theirs) for ours, theirs in zip(first, other, strict=False) if _is_code(ours)]
    return bool(found) and 2 * sum(found) >= len(found)


def _is_code(text: str) -> bool:
    """Return whether a text is a number, a time or a code, and not words."""
    has_digit = any(char.isdigit() for char in text)
    return has_digit and not any(one.isalpha() and two.isspace() for one, two in pairwise(text.strip()))
