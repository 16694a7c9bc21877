"""`sidestream broker`: the local Apache Kafka, started, looked at and stopped."""

from dataclasses import asdict

import typer

from sidestream.streams.broker import broker_status, start_broker, stop_broker
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, say
from sidestream.streams.errors import BrokerError


def start(ctx: typer.Context, as_json: Json = False) -> None:
    """Start the local Kafka, or find it running; `broker stop` ends it."""
    settings = settings_of(ctx)
    if settings.broker.kind == "embedded":
        msg = (
            "broker.kind=embedded: the embedded broker lives inside one process, so there is nothing to leave running; "
            "use `sidestream up` or `sidestream demo`"
        )
        raise BrokerError(msg)
    # Apache Kafka or nothing: an embedded broker would end with this command.
    start_broker(settings.broker.model_copy(update={"kind": "kafka"}), settings.kafka)
    print_facts(asdict(broker_status(settings.broker, settings.kafka)), as_json=as_json)


def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Say what runs and where; ends 1 when nothing answers."""
    settings = settings_of(ctx)
    found = broker_status(settings.broker, settings.kafka)
    print_facts(asdict(found), as_json=as_json)
    if not found.is_running:
        raise typer.Exit(1)


def stop(ctx: typer.Context) -> None:
    """Stop the local Kafka of this data folder."""
    say("stopped" if stop_broker(settings_of(ctx).broker) else "no local broker was running")
