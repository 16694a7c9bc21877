"""`sidestream tokenizer report`: a tokenizer on one page."""

from pathlib import Path
from typing import Annotated

import typer

from sidestream.models.data import LogFolder
from sidestream.models.tokenizer_report import write_report
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts
from sidestream.streams.errors import SettingsError
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.folders import recover_folder


def report(
    ctx: typer.Context,
    tokenizer: Annotated[Path, typer.Argument(help="Tokenizer artifact, or pair folder with tokenizer/.")],
    log: Annotated[Path, typer.Option("--log", help="Log folder: its items, in order of arrival.")],
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")] = Path("report.html"),
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Tokenizer artifact to compare with, on the same items; default: none."),
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option("--item", help="Also show each step from this item to its SID; may repeat.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page on a tokenizer.

    Code usage, shared SIDs, drift, prefixes with titles, single items.
    """
    settings = settings_of(ctx)
    if out.is_dir():
        msg = f"--out {out}: expected a file to write, got a folder; name a file, such as {out / 'report.html'}"
        raise SettingsError(msg)
    facts = write_report(
        LogFolder(log),
        load_tokenizer(tokenizer_folder(tokenizer)),
        out,
        settings.agent.drift,
        load_tokenizer(tokenizer_folder(against)) if against else None,
        item or [],
        settings.train.seed,
    )
    print_facts(facts, as_json=as_json)


def tokenizer_folder(path: Path) -> Path:
    """Find the tokenizer of a pair folder.

    Args:
        path: Pair folder or tokenizer artifact.

    Returns:
        The tokenizer artifact.
    """
    recover_folder(path / "tokenizer")
    return path / "tokenizer" if (path / "tokenizer").is_dir() else path
