"""`sidestream train model`, `evaluate` and `export`: from a log folder to a model that serves.

Training and export need the `train` extra, evaluation the engine.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from sidestream.models.artifact import load_model_artifact, require_weights
from sidestream.models.data import LogFolder
from sidestream.models.evaluation.report import footer, table
from sidestream.models.evaluation.run import evaluate as run_evaluation
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.extras import require_engine, require_training
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, print_json, print_rows, progress_line, say
from sidestream.streams.cli.train_pair import train_pair_model
from sidestream.streams.generations.pair import pair_part
from sidestream.streams.terminal import Column
from sidestream.tokenizer.artifact import load_tokenizer

LogArgument = Annotated[Path, typer.Argument(help="Log folder.")]
# "0.1234 ±0.0123"
METRIC_COLUMNS = 14
PairArgument = Annotated[Path, typer.Argument(help="Pair folder: holds tokenizer/ and model/.")]


def model(ctx: typer.Context, log: LogArgument, pair: PairArgument, as_json: Json = False) -> None:
    """Train, export and evaluate a model on the tokenizer of PAIR.

    The model is written to PAIR/model.
    """
    settings = settings_of(ctx)
    require_training("training")
    with progress_line() as step:
        metrics = train_pair_model(settings, LogFolder(log), pair, step)
    if as_json:
        print_json(metrics)
    else:
        print_evaluation(metrics["evaluation"])


def evaluate(
    ctx: typer.Context,
    log: LogArgument,
    pair: PairArgument,
    listeners: Annotated[
        int | None, typer.Option(min=1, help="Size of a random sample of the listeners; default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask a model for the held-out items of a log folder.

    Popularity and item-kNN are asked for the same items.
    """
    settings = settings_of(ctx)
    require_engine("evaluation")
    folder = LogFolder(log)
    tokenizer_folder, model_folder = pair_part(pair, "tokenizer"), pair_part(pair, "model")
    items = load_tokenizer(tokenizer_folder)
    artifact = load_model_artifact(model_folder, items.version)
    with progress_line() as step:
        written = run_evaluation(
            folder, items, artifact, settings.engine, listeners,
            lambda name, done, total: step(name, done, total, ""),
        )  # fmt: skip
    if as_json:
        print_json(written)
    else:
        print_evaluation(written)


def export(ctx: typer.Context, pair: PairArgument, as_json: Json = False) -> None:
    """Write the ONNX graph of PAIR/model anew from its weights."""
    del ctx
    require_training("export")
    folder = pair_part(pair, "model")
    require_weights(load_model_artifact(folder))
    say("loading PyTorch …")
    from sidestream.models.reexport import reexport

    print_facts(reexport(folder), as_json=as_json)


def print_evaluation(written: dict[str, Any]) -> None:
    """Print an evaluation as a table.

    Args:
        written: What `report` returned.
    """
    heads, rows = table(written)
    first, *metrics = heads
    # A metric without its error would say too much: it is shown whole or not at all.
    columns = [Column(first, kind="id", priority=0, least=9)]
    columns += [Column(head, priority=place, least=METRIC_COLUMNS) for place, head in enumerate(metrics, 1)]
    print_rows([dict(zip(heads, row, strict=True)) for row in rows], columns, as_json=False)
    say(footer(written))
