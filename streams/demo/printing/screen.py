"""The demo's output on the terminal: lines with the time since the start, indented text, tables, commands to copy."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sidestream.streams.terminal import Column, table_lines
from sidestream.streams.terminal import screen as terminal
from sidestream.streams.terminal.screen import Style
from sidestream.streams.terminal.width import fold

# Text is not folded into a narrower strip than this, however narrow the window.
LEAST_COLUMNS = 20


class Screen:
    """A terminal with a clock.

    Args:
        out: Where to; its width limits every line except commands to copy, and paths.
        seconds: Monotonic clock.
    """

    def __init__(self, out: terminal.Screen = terminal.notices, seconds: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._seconds = seconds
        self._started_s = seconds()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._seconds() - self._started_s

    @property
    def columns(self) -> int | None:
        """Columns of the window; None where nothing limits a line."""
        return self._out.columns

    def say(self, text: str, style: Style | None = None) -> None:
        """Print what happens, with the time since the start.

        Args:
            text: A sentence or two; folded below its own beginning.
            style: Such as `red`.
        """
        stamp = f"{self.elapsed_s:6.1f} s  "
        margin = self._out.styled(stamp, "dim")
        for line in self._folded(text, len(stamp)):
            self._out.write(margin + self._out.styled(line, style))
            margin = " " * len(stamp)

    def text(self, text: str, style: Style | None = None, indent: int = 0) -> None:
        """Print a sentence or two, folded at words.

        Args:
            text: Any text.
            style: Such as `bold`.
            indent: Spaces before every line.
        """
        for line in self._folded(text, indent):
            self._out.write(" " * indent + self._out.styled(line, style))

    def gap(self) -> None:
        """Print an empty line."""
        self._out.write("")

    def verbatim(self, text: str) -> None:
        """Print lines to copy as they are, however long.

        Args:
            text: One or more lines.
        """
        for line in text.split("\n"):
            self._out.write(self._out.text(line))

    def table(self, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], indent: int = 0) -> None:
        """Print a table that fits.

        Args:
            columns: In display order.
            rows: Values by key.
            indent: Spaces before every line.
        """
        for line in table_lines(self._out, columns, rows, indent=indent):
            self._out.write(line)

    def _folded(self, text: str, taken: int) -> list[str]:
        safe, width = self._out.text(text), self.columns
        return [safe] if width is None else fold(safe, max(width - taken, LEAST_COLUMNS), whole_words=True)
