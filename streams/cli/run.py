"""`sidestream worker`, `up` and `demo`: the running system."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidestream.models.data import LogFolder
from sidestream.models.errors import DataError
from sidestream.streams.broker import start_broker
from sidestream.streams.cli.connection import reach
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.output import console, print_json, say
from sidestream.streams.cli.training import train_pair_model
from sidestream.streams.contracts.topics import build_topics, create_topics
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.runtime.clock import WallClock
from sidestream.streams.settings import Settings

if TYPE_CHECKING:
    from sidestream.streams.generations.pair import Pair


def worker(ctx: typer.Context) -> None:
    """Run one worker until SIGTERM or Ctrl-C."""
    settings = settings_of(ctx)
    settings = settings.model_copy(update={"kafka": reach(settings, must_answer=False)})
    _run_worker(settings, _load(settings))


def up(ctx: typer.Context) -> None:
    """Start a broker if none is given, make the topics, and run one worker until Ctrl-C."""
    settings = settings_of(ctx)
    # First, since it costs nothing: a broker started in vain would take seconds.
    pair = _load(settings)
    if not settings.kafka.bootstrap:
        say("starting a broker …")
    broker = start_broker(settings.broker, settings.kafka)
    try:
        say(broker.note or f"broker: {broker.kind} at {broker.bootstrap}")
        admin = broker.topic_admin()
        create_topics(admin, build_topics(settings.topics), settings.topics.replication_factor)
        if broker.embedded is None:
            admin.close()
        say(f"worker: http://{settings.web.host}:{settings.web.port}/readyz tells when it is ready; Ctrl-C ends it")
        _run_worker(settings.model_copy(update={"kafka": broker.kafka}), pair)
    finally:
        broker.stop()


def demo(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End after one pass over the log.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="HetRec Last.fm folder, sequence file or log folder; default: the built-in world."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one line of JSON, as it always does where stdout is no terminal.")
    ] = False,
) -> None:
    """Show the whole loop: broker, worker, a played log, candidates; exit code 1 if a promise was broken."""
    # The demo's imports (importers, world) are not the worker's.
    from sidestream.streams.demo.place import demo_place
    from sidestream.streams.demo.prepare import kind_of_data, prepare_data, prepare_world
    from sidestream.streams.demo.printing.reach import executable
    from sidestream.streams.demo.run import Demo

    settings = settings_of(ctx)
    if data is not None and not data.exists():
        msg = f"{data}: expected a folder or file with data, found none; check DATA=… or leave it out"
        raise DataError(msg)
    kind = None if data is None else kind_of_data(data)
    folder = settings.data_dir / ("demo" if data is None else f"demo-{data.resolve().name}")
    with demo_place(folder, settings.broker) as place:
        if data is None or kind is None:
            programme = prepare_world(place, WallClock()())
        else:
            say(f"importing {data} and training on it; later runs reuse what was trained")
            programme = prepare_data(place, data, kind, settings, _train)
        again = (*executable(), *(word for word in sys.argv[1:] if word != "--once"))
        outcome = Demo(settings, programme, place, console, again).run(once=once)
    if as_json or not sys.stdout.isatty():
        print_json(outcome.summary)
    if outcome.verdict.exit_code:
        raise typer.Exit(outcome.verdict.exit_code)


def _train(settings: Settings, folder: LogFolder, pair: Path) -> dict[str, Any]:
    return train_pair_model(settings, folder, pair)


# Faust and ONNX Runtime take a second to import: only for the commands that run them.
def _load(settings: Settings) -> "Pair":
    from sidestream.streams.generations.pair import load_pair

    if settings.artifacts is None:
        say(f"artifacts: none given, serving the shipped demo pair ({shipped_pair()})")
    with_model = settings.worker.role != "tokenize"
    return load_pair(settings.artifacts or shipped_pair(), settings.engine, with_model=with_model)


def _run_worker(settings: Settings, pair: "Pair") -> None:
    from sidestream.streams.app import run_worker

    sys.exit(run_worker(settings, pair))
