"""How commands speak: tables for people, JSON for programs, one line for an error; every text is made safe first."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sidestream.streams.terminal import Column, LiveTable, blocks, exact_json, table_lines
from sidestream.streams.terminal.progress import ProgressLine, Step
from sidestream.streams.terminal.screen import Style, notices, results
from sidestream.streams.terminal.tables import cell, cuts_text, fact_lines
from sidestream.streams.terminal.width import fold

# A row that says a sentence needs so much; below it, each row becomes a block.
TABLE_COLUMNS = 100


def say(text: str, style: Style | None = None) -> None:
    """Tell a person what happens, on stderr.

    Args:
        text: One line of any text.
        style: How it looks.
    """
    notices.say(text, style)


def fail(text: str) -> None:
    """Tell what went wrong, in one line on stderr.

    Args:
        text: The message; new lines are folded.
    """
    notices.write(f"{notices.styled('error:', 'red')} {notices.text(' '.join(text.split()))}")


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout.

    Args:
        value: Anything that JSON can hold.
    """
    results.write(exact_json(value))


def print_rows(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str | Column], *, as_json: bool, as_blocks: bool = False
) -> None:
    """Print rows as a table, or as a JSON list.

    Args:
        rows: One mapping per row.
        columns: In display order, first what a row is called by; JSON shows the rows whole. Numbers under a name that
            ends in `_at` are epoch milliseconds, and dates for people.
        as_json: Print JSON.
        as_blocks: Print each row as a block instead where the terminal is narrow, or a table would shorten a text.
    """
    rows = list(rows)
    if as_json:
        print_json(rows)
        return
    narrow = results.columns is not None and results.columns < TABLE_COLUMNS
    draw = blocks if as_blocks and (narrow or cuts_text(results, columns, rows)) else table_lines
    for line in draw(results, columns, rows):
        results.write(line)


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing's facts, a line each, or as a JSON object.

    Args:
        facts: Names and values; numbers under a name that ends in `_at` are dates for people.
        as_json: Print JSON.
    """
    if as_json:
        print_json(dict(facts))
        return
    shown = [(name, _fact(name, value)) for name, value in facts.items()]
    for line in fact_lines(results, shown):
        results.write(line)


def _fact(name: str, value: Any) -> str:
    # Zero and false are values; nothing at all would leave the line empty.
    is_empty = value is None or (isinstance(value, str | Mapping | Sequence) and not value)
    return "-" if is_empty else cell(value, "time" if name.endswith("_at") else "text")


def print_text(text: str, *, folded: bool = True, indent: int = 0) -> None:
    """Print a block of any text on stdout.

    Args:
        text: May have several lines.
        folded: Fold them to the terminal.
        indent: Columns that stay free before each line, so that none of them passes for one of ours.
    """
    width = results.columns if folded else None
    for line in results.text(text, lines=True).split("\n"):
        for part in [line] if width is None else fold(line, max(2, width - indent)):
            results.write((" " * indent + part).rstrip())


def print_bytes(value: bytes) -> None:
    """Print bytes on stdout as they are, and nothing else: for programs.

    Args:
        value: What to write.
    """
    sys.stdout.buffer.write(value)
    sys.stdout.buffer.flush()


def live_table(columns: Sequence[Column]) -> LiveTable:
    """Begin a table on stdout whose rows come one by one.

    Args:
        columns: What is shown of a row.

    Returns:
        The table.
    """
    return LiveTable(results, columns)


@contextmanager
def progress_line() -> Iterator[Step]:
    """Show how far long work is, on stderr.

    Yields:
        Call it with stage, units done, units in all (0 where that is not known), and a note.
    """
    line = ProgressLine(notices)
    try:
        yield line.step
    finally:
        line.close()
