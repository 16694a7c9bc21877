"""`sidestream config`: the merged settings, where they come from, and their table for the README."""

from typing import Annotated

import typer
from pydantic_core import to_jsonable_python

from sidestream.streams.cli.context import context_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_rows, print_text
from sidestream.streams.settings import Settings, env_name, walk_settings
from sidestream.streams.terminal import Column

COLUMNS = (
    Column("setting", kind="id", priority=0),
    Column("value", "value", priority=0, least=10),
    Column("source", priority=1, least=7),
)


def show(
    ctx: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not at its default.")] = False,
    as_json: Json = False,
) -> None:
    """Show the merged settings with their sources; secrets are masked."""
    context = context_of(ctx)
    rows = [
        {"setting": name, "value": to_jsonable_python(value), "source": context.origins[name]}
        for name, value, _ in walk_settings(context.settings)
        if not changed or context.origins[name] != "default"
    ]
    print_rows(rows, COLUMNS, as_json=as_json)


def table() -> None:
    """Print the settings as a Markdown table, as the README shows them."""
    print_text(settings_table(), folded=False)


def settings_table() -> str:
    """Write all settings with defaults and meanings as a Markdown table."""
    lines = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for name, value, description in walk_settings(Settings()):
        meaning = " ".join(description.split()).replace("|", "\\|")
        lines.append(f"| `{name}` | `{env_name(name)}` | `{value}` | {meaning} |")
    return "\n".join(lines)
