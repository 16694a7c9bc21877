"""`sidestream broker`: local Apache Kafkas, started, listed and stopped."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from sidestream.streams.broker import BrokerStatus, all_brokers, broker_status, start_broker, stop_broker
from sidestream.streams.broker.announce import name_for, running_brokers
from sidestream.streams.broker.foreground import run_until_ended
from sidestream.streams.broker.status import describe_brokers
from sidestream.streams.cli.context import settings_of, with_values
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, print_json, print_rows, say
from sidestream.streams.errors import BrokerError
from sidestream.streams.settings import Settings


def start(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option(help="Name of the broker; default: that of its folder.")] = None,
    brokers: Annotated[
        int | None,
        typer.Option(min=1, max=9, help="Nodes; with 3, every topic has three replicas; default: as its folder, 1."),
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until SIGTERM, SIGHUP or Ctrl-C, then stop it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the local Kafka, or find it running; `broker stop` ends it."""
    settings = settings_of(ctx)
    if settings.broker.kind == "embedded":
        msg = (
            "broker.kind=embedded: the embedded broker lives inside one process, so there is nothing to leave running; "
            "use `sidestream up` or `sidestream demo`"
        )
        raise BrokerError(msg)
    if foreground and settings.kafka.bootstrap:
        msg = (
            f"--foreground: expected a local Kafka, got kafka.bootstrap={settings.kafka.bootstrap}; omit one of the two"
        )
        raise BrokerError(msg)
    # Apache Kafka or nothing: an embedded broker would end with this command.
    group = with_values(settings.broker, "broker", {"kind": "kafka", "name": name, "brokers": brokers})
    if group.name is not None:
        # A name that another folder's broker has gets a number: this command never uses that one.
        group = with_values(group, "broker", {"name": name_for(group)})
    broker = start_broker(group, settings.kafka)
    if broker.note:
        say(broker.note)
    print_facts(_facts(broker_status(broker.settings, settings.kafka)), as_json=as_json)
    if foreground:
        run_until_ended(broker)


def status(ctx: typer.Context, as_json: Json = False) -> None:
    """List the running local brokers; exit code 1 if none answers, or not the one asked for."""
    settings = settings_of(ctx)
    running = all_brokers()
    found = _asked_for(settings, running)
    if as_json:
        print_json({**_facts(found), "brokers": [_facts(one) for one in running]})
    elif found.kind == "none" and not running:
        asked = f"called {found.name} " if found.name else ""
        say(f"no local broker {asked}runs; `sidestream broker start` starts one, `sidestream up` one with a worker")
    elif found.kind == "external" or not running:
        print_facts({name: value for name, value in _facts(found).items() if value not in (None, "")}, as_json=False)
    else:
        _print_brokers(running)
    if not found.is_running:
        raise typer.Exit(1)


def stop(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Name of the broker; default: the one of this folder.")] = None,
) -> None:
    """Stop the local Kafka of this folder, or the one that is named."""
    settings = settings_of(ctx)
    wanted = name or settings.broker.name
    if wanted is None:
        if stop_broker(settings.broker):
            say("stopped")
            return
        elsewhere = running_brokers()
        others = f"; running: {describe_brokers(elsewhere)}; stop one by its name" if elsewhere else ""
        say(f"no local broker was running in this folder{others}")
        return
    entry = next((one for one in running_brokers() if one.name == wanted), None)
    if entry is None:
        say(f"no local broker called {wanted} was running")
        return
    if entry.kind == "embedded":
        msg = f"broker {wanted} is embedded: it lives inside process {entry.pid} and ends with it; end that process"
        raise BrokerError(msg)
    if not stop_broker(with_values(settings.broker, "broker", {"data_dir": entry.data_dir})):
        msg = (
            f"broker {wanted}: nothing was stopped: process {entry.pid} has ended by now, or its command line is not "
            f"that of the Kafka of {entry.data_dir}; see `sidestream broker status`"
        )
        raise BrokerError(msg)
    say(f"stopped {wanted}")


def _print_brokers(running: list[BrokerStatus]) -> None:
    columns = ["name", "address", "kind", "age", "folder", *(["detail"] if any(one.detail for one in running) else [])]
    rows = [
        {**_facts(one), "address": one.bootstrap, "age": age_told(one.age_s), "folder": one.data_dir} for one in running
    ]
    print_rows(rows, columns, as_json=False, as_blocks=True)


def age_told(age_s: float | None) -> str:
    """Write an age for people, such as `3 h 5 min`.

    Args:
        age_s: Seconds; None where it is not known.

    Returns:
        The two largest units.
    """
    if age_s is None:
        return ""
    minutes, seconds = divmod(max(0, int(age_s)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((place for place, (count, _) in enumerate(units) if count), len(units) - 1)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count) or "0 s"


def _asked_for(settings: Settings, running: list[BrokerStatus]) -> BrokerStatus:
    """Choose what the exit code is about: an address, a name, this folder's broker, else any that answers."""
    if settings.kafka.bootstrap:
        return broker_status(settings.broker, settings.kafka)
    if settings.broker.name is not None:
        named = [one for one in running if one.name == settings.broker.name]
        return named[0] if named else BrokerStatus("none", False, name=settings.broker.name, detail="not running")
    here = broker_status(settings.broker)
    answering = [one for one in running if one.is_running]
    return answering[0] if here.kind == "none" and answering else here


def _facts(status: BrokerStatus) -> dict[str, Any]:
    return asdict(status)
