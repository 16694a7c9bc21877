"""`sidestream import`: published data sets become log folders."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from sidestream.models.data.importers.amazon18 import import_amazon18
from sidestream.models.data.importers.lastfm import import_lastfm
from sidestream.models.data.importers.s3rec import import_s3rec
from sidestream.models.data.manifest import Manifest
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, progress_line

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a log folder at DST.")]


def lastfm(
    ctx: typer.Context,
    src: Annotated[Path, typer.Argument(help="Folder with user_taggedartists.dat, artists.dat and tags.dat.")],
    dst: Annotated[Path, typer.Argument(help="Log folder to make.")],
    content_until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Tags count as content only if given before this day."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import HetRec 2011 Last.fm: who tagged which artist when.

    These are acts of tagging, not plays.
    """
    settings = settings_of(ctx).importing
    if content_until is not None:
        settings = settings.model_copy(update={"content_until": content_until.date()})
    with progress_line() as step:
        manifest = import_lastfm(src, dst, settings, overwrite=overwrite, on_progress=step)
    print_facts(manifest_facts(manifest, dst), as_json=as_json)


def s3rec(
    ctx: typer.Context,
    src: Annotated[Path, typer.Argument(help="NAME.txt with lines of `user item item …`.")],
    dst: Annotated[Path, typer.Argument(help="Log folder to make.")],
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import a sequence file, with attributes and names if there.

    They are read from NAME_item2attributes.json and NAME_item_names.json beside it.
    """
    with progress_line() as step:
        manifest = import_s3rec(src, dst, settings_of(ctx).importing, overwrite=overwrite, on_progress=step)
    print_facts(manifest_facts(manifest, dst), as_json=as_json)


def amazon18(
    ctx: typer.Context,
    src: Annotated[Path, typer.Argument(help="Folder with item.json, valid.csv and test.csv.")],
    dst: Annotated[Path, typer.Argument(help="Log folder to make.")],
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Import Amazon 2018 Office: reviews with full item texts.

    They are product reviews, not plays, cut by global time.
    """
    with progress_line() as step:
        manifest = import_amazon18(src, dst, settings_of(ctx).importing, overwrite=overwrite, on_progress=step)
    print_facts(manifest_facts(manifest, dst), as_json=as_json)


def manifest_facts(manifest: Manifest, folder: Path) -> dict[str, object]:
    """Say what a log folder holds.

    Args:
        manifest: Of the folder.
        folder: Where it is.

    Returns:
        Facts by name, in display order.
    """
    counts = manifest.counts
    return {
        "folder": str(folder),
        "name": manifest.name,
        "items": counts.items,
        "listeners": counts.listeners,
        "listens": counts.listens,
        "sessions": counts.sessions,
        "heldout_test": counts.heldout_test,
        "events_are": manifest.events_are,
        "clock": f"{manifest.clock.kind}: {manifest.clock.statement}",
        "split": f"{manifest.split.protocol}: {manifest.split.statement}",
        "licence": manifest.licence,
        "notes": list(manifest.notes),
    }
