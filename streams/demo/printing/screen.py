"""Where people read: timed lines wrapped at words, and tables that drop or shorten columns so that no row wraps."""

import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

MAX_TEXT_WIDTH = 34
MIN_TEXT_WIDTH = 10
GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: Its head.
        is_text: May be shortened; all else is shown whole.
        drop: Dropped where there is no room, the highest first; 0 never is.
    """

    name: str
    is_text: bool = False
    drop: int = 0


class Screen:
    """A console with a clock.

    Args:
        console: Where to; its width is the limit of every line but commands to copy.
        seconds: Monotonic clock.
    """

    def __init__(self, console: Console, seconds: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._seconds = seconds
        self._started_s = seconds()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._seconds() - self._started_s

    def say(self, text: str, style: str = "") -> None:
        """Tell what happens, with the time since the start.

        Args:
            text: A sentence or two; wrapped below its own beginning.
            style: Such as `red`.
        """
        stamp = f"{self.elapsed_s:6.1f} s  "
        first, *more = _wrapped(printable(text), self.console.width - len(stamp))
        line = Text(stamp, style="dim")
        line.append(first, style)
        self.console.print(line, soft_wrap=True)
        for rest in more:
            self.console.print(Text(" " * len(stamp) + rest, style), soft_wrap=True)

    def text(self, text: str, style: str = "", indent: int = 0) -> None:
        """Print a sentence or two, wrapped at words.

        Args:
            text: Any text.
            style: Such as `bold`.
            indent: Spaces before every line.
        """
        for line in _wrapped(printable(text), self.console.width - indent):
            self.console.print(Text(" " * indent + line, style), soft_wrap=True)

    def gap(self) -> None:
        """Print an empty line."""
        self.console.print()

    def verbatim(self, text: str) -> None:
        """Print lines to copy as they are, however long.

        Args:
            text: One or more lines.
        """
        self.console.print(Text(text), soft_wrap=True)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], indent: int = 0) -> None:
        """Print a table that fits.

        Args:
            columns: In display order.
            rows: A cell for each column.
            indent: Spaces before every row.
        """
        cells = [[printable(cell) for cell in row] for row in rows]
        heads = [column.name for column in columns]
        natural = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
        kept, widths = _fitted(columns, natural, self.console.width - indent)
        for number, row in enumerate([heads, *cells]):
            line = Text(" " * indent)
            for place, width in zip(kept, widths, strict=True):
                cell = Text(row[place], style="" if number else "bold")
                cell.truncate(width, overflow="ellipsis", pad=True)
                line.append_text(cell).append(" " * GAP)
            line.rstrip()
            self.console.print(line, soft_wrap=True)


def printable(text: str) -> str:
    """Make text from records harmless on a terminal: control characters become visible dots.

    Args:
        text: Such as a title.

    Returns:
        One line.
    """
    return "".join(char if char.isprintable() else "·" for char in text)


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> tuple[list[int], list[int]]:
    """Choose columns and their widths."""
    kept = list(range(len(columns)))
    most = [min(n, MAX_TEXT_WIDTH) if column.is_text else n for column, n in zip(columns, natural, strict=True)]
    least = [min(n, MIN_TEXT_WIDTH) if column.is_text else n for column, n in zip(columns, natural, strict=True)]
    while sum(least[place] + GAP for place in kept) - GAP > width:
        droppable = [place for place in kept if columns[place].drop]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda place: columns[place].drop))
    widths = {place: least[place] for place in kept}
    left = width - sum(widths.values()) - GAP * (len(kept) - 1)
    growing = [place for place in kept if widths[place] < most[place]]
    while left > 0 and growing:
        # The narrowest first: texts beside each other get the same room.
        place = min(growing, key=lambda one: widths[one])
        widths[place] += 1
        left -= 1
        growing = [one for one in growing if widths[one] < most[one]]
    return kept, [widths[place] for place in kept]


def _wrapped(text: str, width: int) -> list[str]:
    # Paths are never broken: a broken one cannot be copied.
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]
