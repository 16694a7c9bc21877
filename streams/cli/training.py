"""`sidestream world`, `train`, `evaluate` and `export`: from a log folder to a pair that serves.

Training and export need the `train` extra; everything else here runs on the serving install.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sidestream.models.artifact import load_model_artifact
from sidestream.models.data import LogFolder
from sidestream.models.evaluation.report import table
from sidestream.models.evaluation.run import evaluate as run_evaluation
from sidestream.models.world import generate_world
from sidestream.streams.cli.context import settings_of, with_values
from sidestream.streams.cli.data import manifest_facts
from sidestream.streams.cli.output import console, print_facts, print_json, print_rows, say
from sidestream.streams.errors import SettingsError
from sidestream.streams.settings import Settings
from sidestream.tokenizer.artifact import load_tokenizer

train_app = typer.Typer(no_args_is_help=True, help="Train a model on a tokenizer.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LogArgument = Annotated[Path, typer.Argument(help="Log folder.")]
PairArgument = Annotated[Path, typer.Argument(help="Pair folder: holds tokenizer/ and model/.")]
Steps = Callable[[str, int, int, str], None]


def world(
    ctx: typer.Context,
    dst: Annotated[Path, typer.Argument(help="Log folder to make.")],
    listeners: Annotated[int | None, typer.Option(help="Listeners; the catalogue grows with them.")] = None,
    days: Annotated[int | None, typer.Option(help="Days that the world runs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed and sizes, same bytes.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a log folder at DST.")] = False,
    as_json: Json = False,
) -> None:
    """Make a log folder of an invented audio world, for machines without data."""
    given = {"listeners": listeners, "days": days, "seed": seed}
    chosen = with_values(settings_of(ctx).world, "world", given)
    with progress_bar() as step:
        manifest = generate_world(
            dst,
            chosen,
            overwrite=overwrite,
            progress=lambda done, total: step("days", done, total, ""),
        )
    print_facts(manifest_facts(manifest, dst), as_json=as_json)


@train_app.command()
def model(ctx: typer.Context, log: LogArgument, pair: PairArgument, as_json: Json = False) -> None:
    """Train, export and evaluate a model on the tokenizer of PAIR: PAIR/model."""
    settings = settings_of(ctx)
    metrics = train_pair_model(settings, LogFolder(log), pair)
    if as_json:
        print_json(metrics)
    else:
        print_evaluation(metrics["evaluation"])


def evaluate(
    ctx: typer.Context,
    log: LogArgument,
    pair: PairArgument,
    listeners: Annotated[int | None, typer.Option(help="Ask a sample of so many listeners.")] = None,
    as_json: Json = False,
) -> None:
    """Ask a model for the held-out items of a log folder, beside popularity and item-kNN."""
    settings = settings_of(ctx)
    items = load_tokenizer(pair / "tokenizer")
    artifact = load_model_artifact(pair / "model", items.version)
    with progress_bar() as step:
        written = run_evaluation(
            LogFolder(log), items, artifact, settings.engine, listeners,
            lambda name, done, total: step(name, done, total, ""),
        )  # fmt: skip
    if as_json:
        print_json(written)
    else:
        print_evaluation(written)


def export(ctx: typer.Context, pair: PairArgument, as_json: Json = False) -> None:
    """Write the ONNX graph of PAIR/model anew from its weights."""
    del ctx
    exporting = _needs_torch("sidestream.models.reexport")
    print_facts(exporting.reexport(pair / "model"), as_json=as_json)


def train_pair_model(settings: Settings, folder: LogFolder, pair: Path) -> dict[str, Any]:
    """Train a model on the tokenizer of a pair folder, with a progress bar.

    Args:
        settings: The recipe and the engine of the evaluation.
        folder: Log folder.
        pair: Holds `tokenizer/`; gets `model/`.

    Returns:
        The model's metrics, with the seconds of each stage.

    Raises:
        SettingsError: Torch is not installed.
    """
    training = _needs_torch("sidestream.models.training.train")
    items = load_tokenizer(pair / "tokenizer")
    with progress_bar() as step:
        result = training.train_model(
            folder, items, pair / "model", settings.train,
            lambda at: step(at.stage, at.done, at.total, at.note),
            settings.engine,
        )  # fmt: skip
    return {"model_version": result.artifact.version, **result.metrics, "seconds": result.seconds}


def print_evaluation(written: dict[str, Any]) -> None:
    """Print an evaluation as a table.

    Args:
        written: What `report` returned.
    """
    heads, rows = table(written)
    print_rows([dict(zip(heads, row, strict=True)) for row in rows], heads, as_json=False)
    say(f"{written['num_listeners']:,} listeners; {written['protocol']}")


@contextmanager
def progress_bar() -> Iterator[Steps]:
    """Show progress: a bar on a terminal, a line per stage elsewhere.

    Yields:
        Call it with stage, units done, units in all, and a note.
    """
    if not console.is_terminal:
        said: set[tuple[str, str]] = set()

        def tell(stage: str, done: int, total: int, note: str) -> None:
            if (stage, note) not in said:
                said.add((stage, note))
                say(f"{stage} {done:,}/{total:,} {note}" if note else f"{stage} …")

        yield tell
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f}"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=console) as bar:
        tasks: dict[str, Any] = {}

        def draw(stage: str, done: int, total: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note="")
            bar.update(tasks[stage], completed=done, total=total)
            if note:
                bar.update(tasks[stage], note=note)

        yield draw
        for task in tasks.values():
            bar.update(task, completed=bar.tasks[task].total)


def _needs_torch(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] in ("models", "streams", "tokenizer"):
            raise
        msg = f"training needs the package {exc.name}: install sidestream[train], or run `make install`"
        raise SettingsError(msg) from exc
