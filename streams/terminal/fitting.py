"""Fits columns to a width: drops and shortens them by priority.

In this order: each column gets its least width; while that is too much, the column of lowest priority is dropped; ids
get their full width as far as it is there, because an id that is cut cannot be copied; the remaining width goes to the
columns that are shortened most. On a screen without a width (a pipe, a file) nothing is
shortened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sidestream.streams.terminal.width import Cut, text_width

GAP = 2
# A long text keeps at least this width, if necessary by dropping other columns.
LEAST_COLUMNS = 8
# Of "2026-11-30 13:39:10".
DAY_AND_TIME = len("11-30 13:39:10")
CLOCK_TIME = len("13:39:10")

Kind = Literal["text", "id", "number", "time"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        key: Key of its values in a row.
        title: Heading; by default the key, with spaces.
        kind: How values are formatted and shortened: text at its end, ids in the middle, numbers only if they do not
            fit at all; numbers are right-aligned. Times are epoch milliseconds shown in UTC; the year is cut first,
            then the day.
        priority: The column with the highest priority is dropped first, of equals the last one. 0 is never dropped.
        least: Width below which it is dropped rather than shortened; by default enough to recognise a value.
        usual: Width in a live table, before the rows are known.
        most: Largest width, even on a wide screen.
    """

    key: str
    title: str = ""
    kind: Kind = "text"
    priority: int = 1
    least: int | None = None
    usual: int = 12
    most: int | None = None

    @property
    def heading(self) -> str:
        """Return its heading."""
        return self.title or self.key.replace("_", " ")

    @property
    def cut(self) -> Cut:
        """Return where its texts are shortened."""
        return "middle" if self.kind == "id" else "end"


@dataclass(frozen=True, slots=True)
class Fitted:
    """Columns that fit.

    Attributes:
        columns: Shown columns.
        widths: Width of each shown column.
        hidden: Headings of the dropped columns.
    """

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    hidden: tuple[str, ...]


def fit(columns: Sequence[Column], naturals: Sequence[int], width: int | None, *, fill: bool = False) -> Fitted:
    """Distribute a width among columns.

    Args:
        columns: All columns.
        naturals: Full width of each column.
        width: Width of the screen; `None` means unlimited.
        fill: Whether to give the remaining width to text columns.

    Returns:
        Columns and widths whose sum with the gaps is at most `width`.
    """
    if width is None:
        return Fitted(tuple(columns), tuple(naturals), ())
    wanted = [natural if c.most is None else min(natural, c.most) for c, natural in zip(columns, naturals, strict=True)]
    shown = list(range(len(columns)))
    least = [_least(column, natural, width) for column, natural in zip(columns, wanted, strict=True)]
    while len(shown) > 1 and _total([least[i] for i in shown]) > width:
        droppable = [i for i in shown if columns[i].priority > 0]
        if not droppable:
            break
        shown.remove(max(droppable, key=lambda i: (columns[i].priority, i)))
    for i in sorted((i for i in shown if columns[i].kind == "id"), key=lambda i: columns[i].priority):
        if _total([wanted[i] if j == i else least[j] for j in shown]) <= width:
            least[i] = wanted[i]
    widths = _share([least[i] for i in shown], [wanted[i] for i in shown], width)
    if fill:
        texts = [place for place, i in enumerate(shown) if columns[i].kind == "text" and columns[i].most is None]
        spare = width - _total(widths)
        for place in texts:
            widths[place] += spare // len(texts)
    hidden = tuple(column.heading for i, column in enumerate(columns) if i not in shown)
    return Fitted(tuple(columns[i] for i in shown), tuple(widths), hidden)


def _least(column: Column, natural: int, width: int) -> int:
    if column.least is not None:
        return min(natural, column.least)
    if column.kind == "number":
        return min(natural, max(width // 2, LEAST_COLUMNS))
    if column.kind == "time":
        return min(natural, max(DAY_AND_TIME, text_width(column.heading)))
    # The id of a row is copied into other commands: it is kept in full before other columns are.
    share = width // 2 if column.kind == "id" and column.priority == 0 else LEAST_COLUMNS
    return min(natural, max(share, text_width(column.heading)))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _share(least: list[int], wanted: list[int], width: int) -> list[int]:
    """Widen all columns equally from their least width to their wanted width, as far as the total allows."""
    available = width - GAP * (len(least) - 1)
    if sum(wanted) <= available:
        return list(wanted)
    if sum(least) > available:  # a tiny screen, and only columns that may not be dropped
        even = max(1, available // len(least))
        return [min(value, even) for value in least]
    low, high = 0, max(wanted)
    while low < high:  # the highest common cap that fits
        cap = (low + high + 1) // 2
        if sum(_capped(least, wanted, cap)) <= available:
            low = cap
        else:
            high = cap - 1
    widths = _capped(least, wanted, low)
    for place, want in enumerate(wanted):
        if sum(widths) < available and widths[place] < want:
            widths[place] += 1
    return widths


def _capped(least: list[int], wanted: list[int], cap: int) -> list[int]:
    return [max(low, min(want, cap)) for low, want in zip(least, wanted, strict=True)]
