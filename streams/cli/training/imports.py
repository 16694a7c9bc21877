"""`sidestream import`: published data sets become log folders."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from sidestream.models.data.importers.amazon18 import import_amazon18
from sidestream.models.data.importers.lastfm import import_lastfm
from sidestream.models.data.importers.s3rec import import_s3rec
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, progress_line
from sidestream.streams.cli.training.folder_facts import Overwrite, manifest_facts


def lastfm(
    ctx: typer.Context,
    src: Annotated[Path, typer.Argument(help="Folder with user_taggedartists.dat, artists.dat and tags.dat.")],
    dst: Annotated[Path, typer.Argument(help="Log folder to make.")],
    content_until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Tags count as content only if given before this day; default: importing.content_until (none).",
        ),
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
