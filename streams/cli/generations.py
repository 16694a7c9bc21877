"""`sidestream tokenizer rollout`, `rollback`, `retire` and `generations`: which tokenizer version serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.output import print_facts, print_rows, say
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.operate.rollout.pairs import find_pair
from sidestream.streams.operate.rollout.rollout import Operator
from sidestream.streams.operate.rollout.watch import ControlWatch
from sidestream.streams.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Longest wait for the workers, in seconds.")]

# Beats that a worker may miss before it counts as gone.
_SILENT_BEATS = 3


def rollout(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION|PAIR_FOLDER", help="A pair in generations.folder.")],
    may_miss: Annotated[int, typer.Option(min=0, help="Items that may have no SID under it.")] = 0,
    timeout_s: Timeout = 3_600.0,
    as_json: Json = False,
) -> None:
    """Prepare a tokenizer version and its model beside the ones that serve, then switch all workers to them."""
    settings = settings_of(ctx)
    found, pair = find_pair(version, settings.generations.folder)
    home = "artifact" if settings.artifacts is None else settings.artifacts.resolve().name
    with _operator(settings, timeout_s) as operator:
        print_facts(operator.rollout(found, pair, home, may_miss).model_dump(), as_json=as_json)


def rollback(ctx: typer.Context, timeout_s: Timeout = 60.0, as_json: Json = False) -> None:
    """Let the version that served before serve again, at once."""
    with _operator(settings_of(ctx), timeout_s) as operator:
        print_facts(operator.rollback().model_dump(), as_json=as_json)


def retire(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(help="Tokenizer version that does not serve.")],
    timeout_s: Timeout = 3_600.0,
    as_json: Json = False,
) -> None:
    """Take a version out of the catalogue's values, and out of the workers' memory and disks."""
    with _operator(settings_of(ctx), timeout_s) as operator:
        print_facts(operator.retire(version).model_dump(), as_json=as_json)


def generations(ctx: typer.Context, as_json: Json = False) -> None:
    """List the versions that were ever ordered, and how far partitions and workers are with them."""
    settings = settings_of(ctx)
    topics = build_topics(settings.topics)
    with _watch(settings) as watch:
        orders, count = watch.orders, topics.catalog_items.partitions
        rows = [
            {
                "version": found.version,
                "pair": found.pair,
                "phase": found.phase,
                "at": found.at,
                "partitions": f"{_held(watch, found.version, count)}/{count}",
                "workers": ", ".join(
                    sorted(name for name, r in orders.workers().items() if r.serving == found.version)
                ),
            }
            for found in orders.generations
        ]
    print_rows(rows, ("version", "pair", "phase", "partitions", "workers"), as_json=as_json)


def _held(watch: ControlWatch, version: str, count: int) -> int:
    return sum(watch.orders.partition_state(version, partition) == "held" for partition in range(count))


@contextmanager
def _watch(settings: Settings) -> Iterator[ControlWatch]:
    app_id = settings.worker.app_id
    groups = (app_id, f"{app_id}-recommend", f"{app_id}-tokenize")
    silent_s = _SILENT_BEATS * settings.generations.report_s
    watch = ControlWatch(clients_of(settings), build_topics(settings.topics), groups, silent_s)
    try:
        yield watch
    finally:
        watch.close()


@contextmanager
def _operator(settings: Settings, timeout_s: float) -> Iterator[Operator]:
    with _watch(settings) as watch:
        yield Operator(watch, build_topics(settings.topics), timeout_s, say)
