"""`sidestream world`: a log folder of an invented audio world."""

from pathlib import Path
from typing import Annotated

import typer

from sidestream.models.world import generate_world
from sidestream.streams.cli.context import settings_of, with_values
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, progress_line
from sidestream.streams.cli.training.folder_facts import Overwrite, manifest_facts


def world(
    ctx: typer.Context,
    dst: Annotated[Path, typer.Argument(help="Log folder to make.")],
    listeners: Annotated[
        int | None,
        typer.Option(help="Number of listeners; the catalogue grows with them; default: world.listeners (400)."),
    ] = None,
    days: Annotated[int | None, typer.Option(help="Number of days; default: world.days (21).")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Random seed: the same seed and sizes give the same bytes; default: world.seed (7)."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a log folder of an invented audio world.

    For machines without data of their own.
    """
    given = {"listeners": listeners, "days": days, "seed": seed}
    chosen = with_values(settings_of(ctx).world, "world", given)
    with progress_line() as step:
        manifest = generate_world(
            dst,
            chosen,
            overwrite=overwrite,
            progress=lambda done, total: step("days", done, total, ""),
        )
    print_facts(manifest_facts(manifest, dst), as_json=as_json)
