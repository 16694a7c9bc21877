"""`sidestream worker`, `up` and `demo`: the running system."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from models.data import LogFolder
from models.errors import DataError
from streams.broker import start_broker
from streams.cli.connection import reach
from streams.cli.context import settings_of
from streams.cli.output import console, print_json, say
from streams.cli.training import train_pair_model
from streams.contracts.topics import build_topics, create_topics
from streams.demo.shipped import shipped_pair
from streams.settings import Settings


def worker(ctx: typer.Context) -> None:
    """Run one worker until SIGTERM or Ctrl-C."""
    settings = settings_of(ctx)
    _run_worker(settings.model_copy(update={"kafka": reach(settings)}))


def up(ctx: typer.Context) -> None:
    """Start a broker if none is given, make the topics, and run one worker until Ctrl-C."""
    settings = settings_of(ctx)
    broker = start_broker(settings.broker, settings.kafka)
    try:
        say(broker.note or f"broker: {broker.kind} at {broker.bootstrap}")
        admin = broker.topic_admin()
        create_topics(admin, build_topics(settings.topics), settings.topics.replication_factor)
        if broker.embedded is None:
            admin.close()
        say(f"worker: http://{settings.web.host}:{settings.web.port}/readyz tells when it is ready; Ctrl-C ends it")
        _run_worker(settings.model_copy(update={"kafka": broker.kafka}))
    finally:
        broker.stop()


def demo(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End after one pass over the log.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="HetRec Last.fm folder, sequence file or log folder; default: the built-in world."),
    ] = None,
) -> None:
    """Show the whole loop: broker, worker, a played log, candidates; ends with one JSON line."""
    # The demo's imports (importers, world) are not the worker's.
    from streams.demo.prepare import prepare_data, prepare_world
    from streams.demo.run import Demo

    settings = settings_of(ctx)
    if data is not None and not data.exists():
        msg = f"{data}: expected a folder or file with data, found none; check DATA=… or leave it out"
        raise DataError(msg)
    place = (settings.data_dir / ("demo" if data is None else f"demo-{data.resolve().name}")).absolute()
    place.mkdir(parents=True, exist_ok=True)
    if data is None:
        programme = prepare_world(place)
    else:
        say(f"importing {data} and training on it; later runs reuse what was trained")
        programme = prepare_data(place, data, settings, _train)
    summary = Demo(settings, programme, place, console).run(once=once)
    print_json(summary)
    if summary["answered_share"] < 1 or summary["invalid_candidates"]:
        raise typer.Exit(1)


def _train(settings: Settings, folder: LogFolder, pair: Path) -> dict[str, Any]:
    return train_pair_model(settings, folder, pair)


def _run_worker(settings: Settings) -> None:
    # Faust and ONNX Runtime take a second to import: only for the command that runs them.
    from streams.app import run_worker

    if settings.artifacts is None:
        say(f"artifacts: none given, serving the shipped demo pair ({shipped_pair()})")
        settings = settings.model_copy(update={"artifacts": shipped_pair()})
    sys.exit(run_worker(settings))
