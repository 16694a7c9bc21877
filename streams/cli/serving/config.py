"""`sidestream config`: the merged settings with their sources, and the page of all settings."""

from typing import Annotated

import typer
from pydantic_core import to_jsonable_python

from sidestream.streams.cli.context import context_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_rows, print_text
from sidestream.streams.cli.serving.settings_page import settings_page
from sidestream.streams.settings import walk_settings
from sidestream.streams.terminal import Column

COLUMNS = (
    Column("setting", kind="id", priority=0),
    Column("value", "value", priority=0, least=10),
    Column("source", priority=1, least=7),
)


def show(
    ctx: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that differ from their default.")] = False,
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
    """Print all settings as a Markdown page: the everyday ones first, then all others."""
    print_text(settings_page(), folded=False)
