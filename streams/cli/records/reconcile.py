"""`sidestream catalogue reconcile`: the catalogue brought to what a full dump says."""

from pathlib import Path
from typing import Annotated

import typer

from sidestream.streams.cli.connection import clients_of, reach
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, progress_line, say
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.operate.deadletters import parse_moment
from sidestream.streams.operate.reconcile import apply_plan, make_plan, read_dump, read_stored
from sidestream.streams.operate.reconcile.plan import refuse_large
from sidestream.streams.runtime.clock import WallClock


def reconcile(
    ctx: typer.Context,
    dump: Annotated[
        Path, typer.Argument(help="All items: `catalog-items.v1` values, one per line or as an array; - for stdin.")
    ],
    apply: Annotated[bool, typer.Option("--apply", help="Publish the changes; without it, only show them.")] = False,
    max_removed: Annotated[
        float, typer.Option(min=0, max=100, help="Refuse to remove more than this percentage of the items.")
    ] = 5.0,
    force: Annotated[bool, typer.Option("--force", help="Remove absent items whatever their percentage.")] = False,
    taken_at: Annotated[
        str | None,
        typer.Option(
            help="When the dump was taken: 2h (ago), 2026-03-01T12:00 (UTC) or epoch ms; default: its newest item."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish items of a full dump that are new or changed, and remove those that it lacks."""
    settings, now_ms = settings_of(ctx), WallClock()()
    taken_ms = None if taken_at is None else parse_moment(taken_at, now_ms)
    limits = Limits.from_settings(settings.topics)
    with progress_line() as step:
        step("check the dump", 0, 1, "")
        checked = read_dump(dump, limits, now_ms)
        topic = build_topics(settings.topics).catalog_items
        stored = read_stored(
            clients_of(settings), topic, limits, lambda done, total: step("read the topic", done, total, "")
        )
    plan = make_plan(checked, stored, taken_ms)
    if not force:
        refuse_large(plan, max_removed)
    if apply and not plan.is_empty:
        with SidestreamClient(reach(settings), settings.topics, linger_ms=50) as client, progress_line() as step:
            apply_plan(client, checked, plan, lambda done, total: step("publish", done, total, ""))
    print_facts({**plan.counts, "applied": apply}, as_json=as_json)
    if not apply and not plan.is_empty:
        say("nothing was published; add --apply")
