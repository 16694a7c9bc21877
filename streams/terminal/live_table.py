"""A table of unlimited length: columns are fitted before all rows are known, and the header is repeated."""

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
        self._basis: tuple[int | None, tuple[int, ...]] | None = None
        self._since_header = 0
        self._naturals = [max(c.usual, text_width(screen.text(c.heading))) for c in columns]

    def add(self, row: Mapping[str, Any]) -> None:
        """Draw one row.

        Args:
            row: Values by key.
        """
        self._widen_ids(row)
        fitted = self._fit()
        texts = [self._screen.text(cell(row.get(c.key), c.kind)) for c in fitted.columns]
        self._screen.write(row_line(self._screen, fitted, texts))
        self._since_header += 1

    def header(self) -> None:
        """Draw the header at once, so that a table without rows has one, too."""
        self._fit()

    def _widen_ids(self, row: Mapping[str, Any]) -> None:
        """Make room for ids that are longer than all before; a file has one header, and its ids are never cut."""
        if self._fitted is not None and self._screen.rows is None:
            return
        for place, column in enumerate(self._columns):
            if column.kind == "id":
                length = text_width(self._screen.text(cell(row.get(column.key), column.kind)))
                self._naturals[place] = max(self._naturals[place], min(length, column.most or length))

    def _fit(self) -> Fitted:
        width, rows = self._screen.columns, self._screen.rows
        basis = (width, tuple(self._naturals))
        fitted, is_new = self._fitted, False
        if fitted is None or basis != self._basis:
            before, fitted = fitted, fit(self._columns, self._naturals, width, fill=True)
            is_new = fitted != before
            self._fitted, self._basis = fitted, basis
        if is_new and fitted.hidden:
            self._screen.write(hidden_line(self._screen, fitted))
        # A file gets one header only: programs may read it.
        if is_new or (rows is not None and self._since_header >= max(rows - 2, LEAST_ROWS_BETWEEN)):
            self._screen.write(header_line(self._screen, fitted))
            self._since_header = 0
        return fitted
