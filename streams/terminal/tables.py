"""Tables and blocks that fit their screen: no row is wider, and hidden columns are named."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sidestream.streams.terminal.fitting import CLOCK_TIME, DAY_AND_TIME, GAP, Column, Fitted, Kind, fit
from sidestream.streams.terminal.screen import Screen
from sidestream.streams.terminal.width import fold, pad, shorten, text_width


def columns_of(columns: Sequence[str | Column]) -> list[Column]:
    """Make columns of keys.

    Args:
        columns: Columns or keys. The first key identifies a row and is never dropped. Of keys, later ones have lower
            priority; a key that ends in `_at` is a time.

    Returns:
        Columns.
    """
    found = []
    for place, column in enumerate(columns):
        if isinstance(column, Column):
            found.append(column)
        else:
            kind: Kind = "time" if column.endswith("_at") else "id" if place == 0 else "text"
            found.append(Column(column, kind=kind, priority=place))
    return found


def cell(value: Any, kind: Kind = "text") -> str:
    """Format one value.

    Args:
        value: Any value.
        kind: Kind of its column.

    Returns:
        Text, not yet escaped.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind == "time" and isinstance(value, int | float):
        return utc(value)
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell(part)}" for name, part in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        parts = list(map(cell, value))
        if any("," in part or part.endswith(".") for part in parts):
            return "; ".join(part.removesuffix(".") for part in parts)
        return ", ".join(parts)
    return str(value)


def utc(at_ms: float) -> str:
    """Format epoch milliseconds as date and time in UTC; as the number if it is outside the calendar's range."""
    try:
        return f"{datetime.fromtimestamp(at_ms / 1e3, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(at_ms)


def table_lines(
    screen: Screen, columns: Sequence[str | Column], rows: Iterable[Mapping[str, Any]], *, indent: int = 0
) -> Iterator[str]:
    """Draw a table whose rows are all known.

    Args:
        screen: Screen whose width it must fit.
        columns: Columns to show.
        rows: Values by key.
        indent: Spaces before each line.

    Yields:
        Lines, ready to be written.
    """
    fitted, shown = _fitted(screen, columns, rows, indent)
    margin = " " * indent
    yield margin + header_line(screen, fitted)
    for row in shown:
        yield margin + row_line(screen, fitted, row)
    if not shown:
        yield margin + screen.styled("(none)", "dim")
    if fitted.hidden:
        yield hidden_line(screen, fitted)


def cuts_text(screen: Screen, columns: Sequence[str | Column], rows: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a table would shorten a text: the end of a sentence may be what it is read for.

    Args:
        screen: Screen whose width it must fit.
        columns: Columns to show.
        rows: Values by key.

    Returns:
        Whether one is shortened; columns that are dropped do not count.
    """
    fitted, shown = _fitted(screen, columns, rows)
    return any(
        column.kind == "text" and text_width(text) > width
        for row in shown
        for column, width, text in zip(fitted.columns, fitted.widths, row, strict=True)
    )


def _fitted(
    screen: Screen, columns: Sequence[str | Column], rows: Iterable[Mapping[str, Any]], indent: int = 0
) -> tuple[Fitted, list[list[str]]]:
    """Fit columns to rows, and return them with the safe texts of the shown columns."""
    chosen, rows = columns_of(columns), list(rows)
    cells = [[screen.text(cell(row.get(c.key), c.kind)) for c in chosen] for row in rows]
    numeric = [
        c.kind == "number" or (c.kind == "text" and _is_numeric([row.get(c.key) for row in rows])) for c in chosen
    ]
    chosen = [_as_number(c) if is_number else c for c, is_number in zip(chosen, numeric, strict=True)]
    naturals = [
        max([text_width(screen.text(c.heading)), *(text_width(row[place]) for row in cells)])
        for place, c in enumerate(chosen)
    ]
    fitted = fit(chosen, naturals, None if screen.columns is None else max(1, screen.columns - indent))
    places = [chosen.index(column) for column in fitted.columns]
    return fitted, [[row[place] for place in places] for row in cells]


def header_line(screen: Screen, fitted: Fitted) -> str:
    """Draw the headings."""
    return screen.styled(row_line(screen, fitted, [screen.text(column.heading) for column in fitted.columns]), "bold")


def hidden_line(screen: Screen, fitted: Fitted) -> str:
    """Name the columns that do not fit."""
    names = screen.text(", ".join(fitted.hidden))
    return screen.styled(shorten(f"hidden at this width: {names}", screen.columns or 1 << 30, screen.ellipsis), "dim")


def row_line(screen: Screen, fitted: Fitted, texts: Sequence[str]) -> str:
    """Draw one row.

    Args:
        screen: Screen that it is written to.
        fitted: Columns and widths.
        texts: Safe texts of the shown columns.

    Returns:
        One line without trailing spaces.
    """
    pieces = []
    for column, width, text in zip(fitted.columns, fitted.widths, texts, strict=True):
        short = text if screen.columns is None else _short(column, text, width, screen.ellipsis)
        pieces.append(pad(short, width, right=column.kind == "number"))
    return (" " * GAP).join(pieces).rstrip()


def _short(column: Column, text: str, width: int, ellipsis: str) -> str:
    if column.kind == "time" and CLOCK_TIME <= width < len(text) == len(utc(0)):
        return text[-DAY_AND_TIME:] if width >= DAY_AND_TIME else text[-CLOCK_TIME:]
    return shorten(text, width, ellipsis, column.cut)


def blocks(screen: Screen, columns: Sequence[str | Column], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Draw each row in full as a block of `label  value` lines, for rows that do not fit a line of a narrow screen.

    Args:
        screen: Screen whose width they must fit.
        columns: Columns to show; empty values are omitted.
        rows: Values by key.

    Yields:
        Lines, ready to be written.
    """
    chosen = columns_of(columns)
    count = 0
    for count, row in enumerate(rows, 1):
        if count > 1:
            yield ""
        yield from fact_lines(screen, [(c.heading, cell(row.get(c.key), c.kind)) for c in chosen], all_of_them=False)
    if not count:
        yield screen.styled("(none)", "dim")


def fact_lines(screen: Screen, facts: Sequence[tuple[str, str]], *, all_of_them: bool = True) -> Iterator[str]:
    """Draw names and values, one per line; long values continue on the next line with a hanging indent.

    Args:
        screen: Screen whose width they must fit.
        facts: Names and texts.
        all_of_them: Whether to include those with an empty text.

    Yields:
        Lines, ready to be written.
    """
    shown = [(screen.text(name), screen.text(text)) for name, text in facts if text or all_of_them]
    label = max((text_width(name) for name, _ in shown), default=0)
    value_width = None
    if (width := screen.columns) is not None:
        # A name may be shortened if it does not fit; a value never is.
        label = min(label, max(1, width // 2 - GAP))
        value_width = max(2, width - label - GAP)
    for name, text in shown:
        first, *more = [text] if value_width is None else fold(text, value_width)
        head = name if width is None else shorten(name, label, screen.ellipsis)
        yield (screen.styled(pad(head, label), "bold") + " " * GAP + first).rstrip()
        for line in more:
            yield (" " * (label + GAP) + line).rstrip()


def _is_numeric(values: Sequence[Any]) -> bool:
    found = [value for value in values if value is not None]
    return bool(found) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)


def _as_number(column: Column) -> Column:
    return Column(column.key, column.title, "number", column.priority, column.least, column.usual, column.most)
