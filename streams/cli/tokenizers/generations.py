"""`sidestream tokenizer rollout`, `rollback`, `retire` and `generations`: which tokenizer version serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json, finite
from sidestream.streams.cli.output import print_facts, print_rows, say
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.generations.orders import Orders
from sidestream.streams.operate.rollout.pairs import find_pair
from sidestream.streams.operate.rollout.rollout import Operator
from sidestream.streams.operate.rollout.watch import ControlWatch
from sidestream.streams.settings import Settings
from sidestream.streams.terminal import Column

Timeout = Annotated[
    float, typer.Option("--timeout", min=1, callback=finite, help="Longest wait for the workers, in seconds.")
]

COLUMNS = (
    Column("version", kind="id", priority=0),
    Column("phase", priority=1, least=9),
    Column("pair", kind="id", priority=2),
    Column("partitions", priority=3),
    Column("at", "ordered", kind="time", priority=5),
    Column("workers", priority=4),
)

# Beats that a worker may miss before it counts as gone.
_SILENT_BEATS = 3


def rollout(
    ctx: typer.Context,
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION|PAIR_FOLDER", help="Pair in generations.folder: its name, path or version."),
    ],
    may_miss: Annotated[int, typer.Option(min=0, help="Number of items that may lack a SID under it.")] = 0,
    timeout_s: Timeout = 3_600.0,
    as_json: Json = False,
) -> None:
    """Prepare a tokenizer version, then switch to it.

    Version and model are prepared beside the ones that serve, then all workers switch to them.
    """
    settings = settings_of(ctx)
    found, pair = find_pair(version, settings.generations.folder)
    home = "artifact" if settings.artifacts is None else settings.artifacts.resolve().name
    with _operator(settings, timeout_s) as operator:
        print_facts(operator.rollout(found, pair, home, may_miss).model_dump(), as_json=as_json)


def rollback(ctx: typer.Context, timeout_s: Timeout = 60.0, as_json: Json = False) -> None:
    """Let the version that served before serve again.

    Workers hold it in memory, so it serves at once.
    """
    with _operator(settings_of(ctx), timeout_s) as operator:
        print_facts(operator.rollback().model_dump(), as_json=as_json)


def retire(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(help="Tokenizer version that does not serve.")],
    timeout_s: Timeout = 3_600.0,
    as_json: Json = False,
) -> None:
    """Remove a version from catalogue, memory and disks."""
    with _operator(settings_of(ctx), timeout_s) as operator:
        print_facts(operator.retire(version).model_dump(), as_json=as_json)


def generations(ctx: typer.Context, as_json: Json = False) -> None:
    """List versions that serve or were ordered.

    Each with how far partitions and workers are with it.
    """
    settings = settings_of(ctx)
    partitions = build_topics(settings.topics).catalog_items.partitions
    with _watch(settings) as watch:
        rows = generation_rows(watch.orders, partitions)
    print_rows(rows, COLUMNS, as_json=as_json)


def generation_rows(orders: Orders, partitions: int) -> list[dict[str, object]]:
    """List versions for people and programs: first those that serve without ever having been ordered, then the others.

    A worker serves the pair that it was started with until a rollout is ordered; of such a version no pair folder and
    no time are known, and its partitions are not counted, since all values hold it.

    Args:
        orders: The control topics so far.
        partitions: Of the catalogue.

    Returns:
        A row for each version.
    """
    served: dict[str, list[str]] = {}
    for name, report in sorted(orders.workers().items()):
        if report.serving is not None:
            served.setdefault(report.serving, []).append(name)
    ordered = {found.version for found in orders.generations}
    phase = "active" if orders.active is None else "unordered"
    rows: list[dict[str, object]] = [
        {
            "version": version,
            "pair": None,
            "phase": phase,
            "at": None,
            "partitions": None,
            "workers": ", ".join(workers),
        }
        for version, workers in sorted(served.items())
        if version not in ordered
    ]
    for found in orders.generations:
        held = sum(orders.partition_state(found.version, partition) == "held" for partition in range(partitions))
        rows.append(
            {
                "version": found.version,
                "pair": found.pair,
                "phase": found.phase,
                "at": found.at,
                "partitions": f"{held}/{partitions}",
                "workers": ", ".join(served.get(found.version, [])),
            }
        )
    return rows


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
