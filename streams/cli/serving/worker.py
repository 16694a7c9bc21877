"""`sidestream worker` and `up`: the running system."""

import itertools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidestream.streams.broker.probe import free_ports, is_port_free
from sidestream.streams.cli.connection import reach
from sidestream.streams.cli.context import Context, context_of, settings_of, with_values
from sidestream.streams.cli.extras import require_broker_library, require_engine
from sidestream.streams.cli.output import say
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.running.workers import web_url
from sidestream.streams.runtime import termination
from sidestream.streams.settings import Settings, flags_of

if TYPE_CHECKING:
    from sidestream.streams.generations.pair import Pair


def worker(ctx: typer.Context) -> None:
    """Run one worker until SIGTERM, SIGHUP or Ctrl-C."""
    settings = settings_of(ctx)
    _require_extras(settings)
    settings = settings.model_copy(update={"kafka": reach(settings, must_answer=False)})
    _run_worker(settings, _load(settings))


def up(
    ctx: typer.Context,
    workers: Annotated[int, typer.Option(min=1, help="Number of workers; each has its own port and folder.")] = 1,
    brokers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=9,
            help="Nodes of the local Kafka; with 3, topics have three replicas; default: as its folder, 1.",
        ),
    ] = None,
) -> None:
    """Start a broker if none is given, make the topics, and run workers.

    SIGTERM, SIGHUP or Ctrl-C ends all of it; so does the failure of one of several workers. Where this process is
    killed, its workers end, and a local Kafka runs on.
    """
    from sidestream.streams.broker import start_broker
    from sidestream.streams.contracts.topics import build_topics, create_topics

    settings = settings_of(ctx)
    settings = settings.model_copy(update={"broker": with_values(settings.broker, "broker", {"brokers": brokers})})
    _require_extras(settings)
    require_broker_library(settings, "sidestream up")
    # First, since it costs nothing: a broker started in vain would take seconds.
    pair = _load(settings)
    if not settings.kafka.bootstrap:
        say("starting a broker …")
    broker = start_broker(settings.broker, settings.kafka)
    try:
        if broker.note:
            say(broker.note)
        name = f" ({broker.name})" if broker.name else ""
        say(f"broker: {broker.kind} at {broker.bootstrap}{name}")
        admin = broker.topic_admin()
        create_topics(admin, build_topics(settings.topics), settings.topics.replication_factor)
        if broker.embedded is None:
            admin.close()
        settings = settings.model_copy(update={"kafka": broker.kafka})
        if workers > 1:
            del pair
            sys.exit(_run_fleet(context_of(ctx), settings, workers))
        _run_worker(settings, pair, lambda url: say(f"worker: {url}/readyz tells when it is ready; Ctrl-C ends it"))
    finally:
        termination.ignore_signals()
        broker.stop()


def _run_fleet(context: Context, settings: Settings, count: int) -> int:
    from sidestream.streams.worker.fleet import Fleet

    # All of them find the broker by its address; the settings file and the environment are the same for all.
    shared = {name: value for name, value in context.flags.items() if name.split(".")[0] != "kafka"}
    shared |= flags_of(settings.kafka, "kafka.")
    ports = _web_ports(settings, count)
    for number, port in enumerate(ports, start=1):
        say(f"worker {number}: {web_url(settings.web.host, port)}/readyz tells when it is ready")
    say("Ctrl-C ends all of them")
    if settings.log.format == "auto":
        shared["log.format"] = "text" if sys.stderr.isatty() else "json"
    flags: list[dict[str, Any]] = [{**shared, "web.port": port} for port in ports]
    if settings.worker.group_instance_id is not None:
        for number, worker in enumerate(flags, start=1):
            worker["worker.group_instance_id"] = f"{settings.worker.group_instance_id}-{number}"
    if (first := settings.worker.instance) is not None:
        for instance, worker in enumerate(flags, start=first):
            worker["worker.instance"] = instance
    return Fleet(flags, context.file, settings.worker.watchdog.shutdown_s).run()


def _web_ports(settings: Settings, count: int) -> list[int]:
    """Choose ports from `web.port` on, leaving out those that are taken; any free ones for port 0."""
    if not settings.web.port:
        return free_ports(count)
    return list(itertools.islice(filter(is_port_free, range(settings.web.port, 65_536)), count))


def _require_extras(settings: Settings) -> None:
    if settings.worker.role != "tokenize":
        require_engine("a worker")


# Faust and ONNX Runtime take a second to import: only for the commands that run them.
def _load(settings: Settings) -> "Pair":
    from sidestream.streams.generations.pair import SETTING, load_pair

    if settings.artifacts is None:
        say(f"artifacts: none given, serving the shipped demo pair ({shipped_pair()})")
    with_model = settings.worker.role != "tokenize"
    return load_pair(settings.artifacts or shipped_pair(), settings.engine, with_model=with_model, named=SETTING)


def _run_worker(settings: Settings, pair: "Pair", on_listening: Callable[[str], None] = lambda url: None) -> None:
    from sidestream.streams.app import run_worker

    sys.exit(run_worker(settings, pair, on_listening=on_listening))
