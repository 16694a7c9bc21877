"""`sidestream demo`: the whole loop on one machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.extras import require_broker_library, require_engine, require_training
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_json, progress_line, say
from sidestream.streams.errors import DataError
from sidestream.tokenizer.folders import recover_folder

if TYPE_CHECKING:
    from sidestream.models.data import LogFolder
    from sidestream.streams.settings import Settings


def demo(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End after one pass over the log.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="HetRec Last.fm folder, sequence file or log folder; default: the built-in world."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the whole loop: broker, worker, a played log, candidates.

    The exit code is 1 if a promise was broken. With `--json`, or where stdout is no terminal, the summary is printed as
    one JSON line at the end.
    """
    settings = settings_of(ctx)
    require_engine("the demo")
    require_broker_library(settings, "sidestream demo")
    if data is not None:
        recover_folder(data)
    if data is not None and not data.exists():
        msg = f"{data}: expected a folder or file with data, found none; check DATA=… or leave it out"
        raise DataError(msg)
    from sidestream.streams.demo.place import demo_place
    from sidestream.streams.demo.prepare import kind_of_data, prepare_data, prepare_world
    from sidestream.streams.demo.printing.reach import executable
    from sidestream.streams.demo.run import Demo
    from sidestream.streams.runtime.clock import WallClock

    kind = None if data is None else kind_of_data(data)
    if kind is not None:
        require_training("the demo with --data")
    folder = settings.data_dir / ("demo" if data is None else f"demo-{data.resolve().name}")
    with demo_place(folder, settings.broker) as place:
        if data is None or kind is None:
            programme = prepare_world(place, WallClock()())
        else:
            say(f"importing {data} and training on it; later runs reuse what was trained")
            programme = prepare_data(place, data, kind, settings, _train)
        again = (*executable(), *(word for word in sys.argv[1:] if word != "--once"))
        outcome = Demo(settings, programme, place, again).run(once=once)
    if as_json:
        print_json(outcome.summary)
    if outcome.verdict.exit_code:
        raise typer.Exit(outcome.verdict.exit_code)


def _train(settings: "Settings", folder: "LogFolder", pair: Path) -> dict[str, Any]:
    from sidestream.streams.cli.train_pair import train_pair_model

    with progress_line() as step:
        return train_pair_model(settings, folder, pair, step)
