"""`sidestream worker` and `up`: the running system."""

import sys
from typing import TYPE_CHECKING

import typer

from sidestream.streams import termination
from sidestream.streams.cli.connection import reach
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.extras import require_broker_library, require_engine
from sidestream.streams.cli.output import say
from sidestream.streams.demo.shipped import shipped_pair
from sidestream.streams.settings import Settings

if TYPE_CHECKING:
    from sidestream.streams.generations.pair import Pair


def worker(ctx: typer.Context) -> None:
    """Run one worker until SIGTERM, SIGHUP or Ctrl-C."""
    settings = settings_of(ctx)
    _require_extras(settings)
    settings = settings.model_copy(update={"kafka": reach(settings, must_answer=False)})
    _run_worker(settings, _load(settings))


def up(ctx: typer.Context) -> None:
    """Start a broker if none is given, make the topics, and run one worker.

    SIGTERM, SIGHUP or Ctrl-C ends all of it.
    """
    from sidestream.streams.broker import start_broker
    from sidestream.streams.contracts.topics import build_topics, create_topics

    settings = settings_of(ctx)
    _require_extras(settings)
    require_broker_library(settings, "sidestream up")
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
        termination.hold_off()
        broker.stop()


def _require_extras(settings: Settings) -> None:
    if settings.worker.role != "tokenize":
        require_engine("a worker")


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
