"""Columns that share a width: what is dropped and what is shortened, by priority.

In this order: each column gets its least width; while that is too much, the column of lowest priority is dropped; what
is left over goes to the columns that are cut most. A screen without a width (a pipe, a file) cuts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sidestream.streams.terminal.width import Cut, text_width

GAP = 2
# A column keeps so much of a long text before others are dropped for it.
LEAST_COLUMNS = 8
# Of "2026-11-30 13:39:10".
DAY_AND_TIME = len("11-30 13:39:10")
CLOCK_TIME = len("13:39:10")

Kind = Literal["text", "id", "number", "time"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        key: Where its values are in a row.
        title: Heading; by default the key, with spaces.
        kind: How values are written and cut: text at its end, ids in their middle, numbers never, as long as there is
            room for them; numbers stand to the right. Times are epoch milliseconds shown in UTC; they lose their year,
            then their day.
        priority: What is dropped first: the highest, and of equals the last. 0 is never dropped.
        least: Columns below which it is dropped rather than shortened; by default enough to be recognised.
        usual: Width that a table without an end gives it at first, before the rows are known.
        most: Columns that it takes at most, however wide the screen is.
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
        """Return its title."""
        return self.title or self.key.replace("_", " ")

    @property
    def cut(self) -> Cut:
        """Return where its texts are cut."""
        return "middle" if self.kind == "id" else "end"


@dataclass(frozen=True, slots=True)
class Fitted:
    """Columns that fit.

    Attributes:
        columns: Those that are shown.
        widths: Of each.
        hidden: Headings of the others.
    """

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    hidden: tuple[str, ...]


def fit(columns: Sequence[Column], naturals: Sequence[int], width: int | None, *, fill: bool = False) -> Fitted:
    """Share a width among columns.

    Args:
        columns: All columns.
        naturals: Columns that each would take.
        width: Columns of the screen; none for any.
        fill: Give what is left over to columns of text.

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
    # What a row is called by is copied into other commands: it is kept whole before anything else is.
    share = width // 2 if column.kind == "id" and column.priority == 0 else LEAST_COLUMNS
    return min(natural, max(share, text_width(column.heading)))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _share(least: list[int], wanted: list[int], width: int) -> list[int]:
    """Let all columns grow alike from their least width to what they want, as far as the width goes."""
    room = width - GAP * (len(least) - 1)
    if sum(wanted) <= room:
        return list(wanted)
    if sum(least) > room:  # only columns that must stay are left, on a tiny screen
        even = max(1, room // len(least))
        return [min(value, even) for value in least]
    low, high = 0, max(wanted)
    while low < high:  # the highest common cap that fits
        cap = (low + high + 1) // 2
        if sum(_capped(least, wanted, cap)) <= room:
            low = cap
        else:
            high = cap - 1
    widths = _capped(least, wanted, low)
    for place, want in enumerate(wanted):
        if sum(widths) < room and widths[place] < want:
            widths[place] += 1
    return widths


def _capped(least: list[int], wanted: list[int], cap: int) -> list[int]:
    return [max(low, min(want, cap)) for low, want in zip(least, wanted, strict=True)]
