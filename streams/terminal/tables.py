"""Tables and blocks that fit their screen: no row is wider than it, and what was left out is said."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sidestream.streams.terminal.fitting import CLOCK_TIME, DAY_AND_TIME, GAP, Column, Fitted, Kind, fit
from sidestream.streams.terminal.screen import Screen
from sidestream.streams.terminal.width import fold, pad, shorten, text_width


def columns_of(columns: Sequence[str | Column]) -> list[Column]:
    """Complete columns that are given by name.

    Args:
        columns: Columns or keys. The first is what a row is called by: it is kept. Of keys, the later are less
            important; a key that ends in `_at` holds a time.

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
    """Write one value for people.

    Args:
        value: Any value.
        kind: Of its column.

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
        return ", ".join(map(cell, value))
    return str(value)


def utc(at_ms: float) -> str:
    """Write epoch milliseconds as a time of the day in UTC; as the number where no calendar has it."""
    try:
        return f"{datetime.fromtimestamp(at_ms / 1e3, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(at_ms)


def table_lines(
    screen: Screen, columns: Sequence[str | Column], rows: Iterable[Mapping[str, Any]], *, indent: int = 0
) -> Iterator[str]:
    """Draw a table whose rows are all known.

    Args:
        screen: Says how wide it may be.
        columns: What is shown of a row.
        rows: Values by key.
        indent: Spaces before each line.

    Yields:
        Lines, ready to be written.
    """
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
    places, margin = [chosen.index(column) for column in fitted.columns], " " * indent
    yield margin + header_line(screen, fitted)
    for row in cells:
        yield margin + row_line(screen, fitted, [row[place] for place in places])
    if not cells:
        yield margin + screen.styled("(none)", "dim")
    if fitted.hidden:
        yield hidden_line(screen, fitted)


def header_line(screen: Screen, fitted: Fitted) -> str:
    """Draw the headings."""
    return screen.styled(row_line(screen, fitted, [screen.text(column.heading) for column in fitted.columns]), "bold")


def hidden_line(screen: Screen, fitted: Fitted) -> str:
    """Say which columns have no room."""
    names = screen.text(", ".join(fitted.hidden))
    return screen.styled(shorten(f"hidden at this width: {names}", screen.columns or 1 << 30, screen.ellipsis), "dim")


def row_line(screen: Screen, fitted: Fitted, texts: Sequence[str]) -> str:
    """Draw one row.

    Args:
        screen: Where it goes.
        fitted: Columns and widths.
        texts: Of the shown columns, safe already.

    Returns:
        One line without spaces at its end.
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
    """Draw each row as a block of `label  value` lines, whole: for rows that no narrow screen holds on a line.

    Args:
        screen: Says how wide it may be.
        columns: What is shown of a row; empty values are left out.
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
    """Draw names and values, one under the other; long values go on in the next line, below their beginning.

    Args:
        screen: Says how wide it may be.
        facts: Names and texts.
        all_of_them: Also those without a text.

    Yields:
        Lines, ready to be written.
    """
    shown = [(screen.text(name), screen.text(text)) for name, text in facts if text or all_of_them]
    label = max((text_width(name) for name, _ in shown), default=0)
    room = None
    if (width := screen.columns) is not None:
        # A name may be cut where there is no room; a value never is.
        label = min(label, max(1, width // 2 - GAP))
        room = max(2, width - label - GAP)
    for name, text in shown:
        first, *more = [text] if room is None else fold(text, room)
        head = name if width is None else shorten(name, label, screen.ellipsis)
        yield (screen.styled(pad(head, label), "bold") + " " * GAP + first).rstrip()
        for line in more:
            yield (" " * (label + GAP) + line).rstrip()


def _is_numeric(values: Sequence[Any]) -> bool:
    found = [value for value in values if value is not None]
    return bool(found) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)


def _as_number(column: Column) -> Column:
    return Column(column.key, column.title, "number", column.priority, column.least, column.usual, column.most)
