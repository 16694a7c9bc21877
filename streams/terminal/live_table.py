"""A table of unlimited length: columns are fitted before the rows are known, and the header is repeated."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidestream.streams.terminal.fitting import Column, Fitted, fit
from sidestream.streams.terminal.screen import Screen
from sidestream.streams.terminal.tables import cell, header_line, hidden_line, row_line
from sidestream.streams.terminal.width import text_width

# Keeps the header from being repeated too often on a small screen.
LEAST_ROWS_BETWEEN = 10


class LiveTable:
    """Draws row by row.

    Args:
        screen: Screen to draw on.
        columns: Columns with their usual widths.
    """

    def __init__(self, screen: Screen, columns: Sequence[Column]) -> None:
        self._screen = screen
        self._columns = columns
        self._fitted: Fitted | None = None
        self._fitted_to: int | None = None
        self._since_header = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Draw one row.

        Args:
            row: Values by key.
        """
        fitted = self._fit()
        texts = [self._screen.text(cell(row.get(c.key), c.kind)) for c in fitted.columns]
        self._screen.write(row_line(self._screen, fitted, texts))
        self._since_header += 1

    def header(self) -> None:
        """Draw the header at once, so that a table without rows has one, too."""
        self._fit()

    def _fit(self) -> Fitted:
        width, rows = self._screen.columns, self._screen.rows
        if self._fitted is None or width != self._fitted_to:
            naturals = [max(c.usual, text_width(self._screen.text(c.heading))) for c in self._columns]
            self._fitted, self._fitted_to = fit(self._columns, naturals, width, fill=True), width
            if self._fitted.hidden:
                self._screen.write(hidden_line(self._screen, self._fitted))
        # A file gets one header only: programs may read it.
        elif rows is None or self._since_header < max(rows - 2, LEAST_ROWS_BETWEEN):
            return self._fitted
        self._screen.write(header_line(self._screen, self._fitted))
        self._since_header = 0
        return self._fitted
