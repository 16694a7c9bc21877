"""How commands speak: tables for people, JSON for programs, one line for an error."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

# Results go to stdout, everything said on the way to stderr: `--json | jq` must always work.
console = Console(stderr=True, highlight=False, soft_wrap=True)
results = Console(highlight=False, soft_wrap=True)
# In a pipe or a log nobody can widen the window: tables get the room they need.
PIPED_COLUMNS = 140
for _console in (console, results):
    if not _console.is_terminal:
        _console.width = PIPED_COLUMNS


def say(text: str) -> None:
    """Tell a person what happens, on stderr.

    Args:
        text: One line, shown as it is.
    """
    console.print(text, markup=False, emoji=False)


def fail(text: str) -> None:
    """Tell what went wrong, in one line on stderr.

    Args:
        text: The message; new lines are folded.
    """
    console.print(f"[red]error:[/red] {escape(' '.join(text.split()))}", emoji=False)


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout.

    Args:
        value: Anything that JSON can hold.
    """
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, title: str = "") -> None:
    """Print rows as a table, or as a JSON list.

    Args:
        rows: One mapping per row.
        columns: Keys in display order, first what a row is called by; JSON shows the rows whole. Numbers under a name
            that ends in `_at` are epoch milliseconds, and dates for people.
        as_json: Print JSON.
        title: Heading of the table.
    """
    rows = list(rows)
    if as_json:
        print_json(rows)
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for place, column in enumerate(columns):
        # Other commands ask for what the first column holds: it must be there to be copied.
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*(_cell(row.get(c), is_time=c.endswith("_at")) for c in columns))
    results.print(table)


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing's facts, a line each, or as a JSON object.

    Args:
        facts: Names and values.
        as_json: Print JSON.
    """
    if as_json:
        print_json(dict(facts))
        return
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        results.print(f"[bold]{name:<{width}}[/bold]  {escape(str(value))}", emoji=False)


def _cell(value: Any, *, is_time: bool = False) -> Text:
    """Write a value for people; as `Text`, so that brackets in titles and ids are no markup."""
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if is_time and isinstance(value, int):
        return Text(f"{datetime.fromtimestamp(value / 1e3, UTC):%Y-%m-%d %H:%M:%S}")
    return Text(f"{value:.3f}" if isinstance(value, float) else str(value))
