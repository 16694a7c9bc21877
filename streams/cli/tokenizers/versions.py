"""`sidestream tokenizer train | compare`: make a tokenizer version from logs, set it beside the one that runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sidestream.models.data import LogFolder
from sidestream.models.evaluation.versions import compare_versions
from sidestream.models.training.tokenizer import train_tokenizer
from sidestream.streams.cli.context import settings_of, with_values
from sidestream.streams.cli.extras import require_torch
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, print_json, print_rows, progress_line
from sidestream.streams.cli.tokenizers.comparison import change_rows, measure_rows
from sidestream.tokenizer.artifact import load_tokenizer
from sidestream.tokenizer.encoders import open_encoder
from sidestream.tokenizer.folders import require_place
from sidestream.tokenizer.generations.alignment import replace_alignment


def train(
    ctx: typer.Context,
    log: Annotated[Path, typer.Argument(help="Log folder.")],
    dst: Annotated[Path, typer.Argument(help="Tokenizer artifact to write, such as pair/tokenizer.")],
    kinds: Annotated[
        str | None,
        typer.Option(help="Kind of each level, such as kmeans,kmeans,fsq or vq,vq,vq; default: tokenizer.level_kinds."),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="Number of codes of each level, such as 256,128,64; default: tokenizer.codebook_sizes."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Random seed: the same seed and log give the same version; default: train.seed."),
    ] = None,
    unheard: Annotated[
        bool, typer.Option("--unheard", help="Also measure how well content alone places items without listens.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit a tokenizer on the training part of a log folder.

    The result is a new version, frozen.
    """
    settings = settings_of(ctx)
    given = {"level_kinds": kinds and kinds.split(","), "codebook_sizes": sizes and sizes.split(",")}
    longest = max((len(value) for value in given.values() if value), default=None)
    chosen = with_values(settings.tokenizer, "tokenizer", {**given, "num_levels": longest})
    if "vq" in chosen.kinds:
        require_torch("training levels of kind vq")
    with progress_line() as step:
        fitted = train_tokenizer(
            LogFolder(log),
            dst,
            open_encoder(chosen.encoder),
            chosen,
            settings.train.seed if seed is None else seed,
            with_cold_start=unheard,
            progress=lambda stage, done, total: step(stage, done, total, ""),
        )
    print_facts(fitted.report, as_json=as_json)


def compare(
    ctx: typer.Context,
    old: Annotated[Path, typer.Argument(help="Tokenizer artifact that serves now.")],
    new: Annotated[Path, typer.Argument(help="Tokenizer artifact of the candidate.")],
    log: Annotated[Path, typer.Option("--log", help="Log folder whose items are compared.")],
    alignment: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the map from old to new SIDs, such as pair/alignment; default: it is not written."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two tokenizer versions, and map their SIDs.

    They are compared on the items of a log folder.
    """
    if alignment is not None:
        require_place(alignment, replace_alignment)
    seed = settings_of(ctx).train.seed
    comparison, made = compare_versions(LogFolder(log), load_tokenizer(old), load_tokenizer(new), seed)
    if alignment is not None:
        made.save(alignment)
    if as_json:
        print_json(asdict(comparison))
        return
    print_rows(measure_rows(comparison), ["measure", "old", "new"], as_json=False)
    print_rows(change_rows(comparison), ["change", "share"], as_json=False)
