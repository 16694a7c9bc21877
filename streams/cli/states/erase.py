"""`sidestream state erase`: have users forgotten, and wait until they are."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json, finite
from sidestream.streams.cli.output import fail, print_facts, print_rows, progress_line, say
from sidestream.streams.cli.states.offline import offline_states
from sidestream.streams.operate.deadletters import parse_moment
from sidestream.streams.operate.states.erase import EraseUsers, UserReport
from sidestream.streams.runtime import termination
from sidestream.streams.runtime.clock import WallClock
from sidestream.streams.settings import Settings


def erase(
    ctx: typer.Context,
    users: Annotated[list[str], typer.Argument(metavar="USER", help="User ids of the listeners.")],
    at: Annotated[
        str | None,
        typer.Option(
            help="Erase listens up to this time: 2h, 7d (ago), 2026-03-01T12:00 (UTC) or epoch ms; default: now."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it is done; otherwise only ask for it.")
    ] = True,
    search: Annotated[
        bool,
        typer.Option(
            "--search/--no-search",
            help="Read the whole changelog, for states in partitions that are not the user's.",
        ),
    ] = True,
    timeout: Annotated[
        float, typer.Option(min=0, callback=finite, help="Seconds to wait for the workers, after the search.")
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Erase all listens of users up to now, and wait until it is done.

    The workers that hold the users do it within a batch. Exit code 1 if that is not confirmed in time.
    """
    settings, now_ms = settings_of(ctx), WallClock()()
    at_ms = now_ms if at is None else parse_moment(at, now_ms)
    offline = offline_states(settings)
    app_id = settings.worker.app_id
    erasure = EraseUsers(offline, (app_id, f"{app_id}-recommend"), users, at_ms)
    waits = wait and not offline.clients.is_embedded
    if waits:
        with progress_line() as step:
            reports = termination.run(
                erasure.run(
                    search=search,
                    timeout_s=timeout,
                    progress=lambda done, total: step("search the changelog", done, total),
                )
            )
    else:
        reports = termination.run(erasure.send())
    topic = offline.topics.user_erasures.name
    rows = [_row(topic, report, at_ms, waits=waits) for report in reports]
    if len(rows) == 1:
        print_facts(rows[0], as_json=as_json)
    else:
        shown = ["found_in", "misplaced_in", "done"] if waits else ["offset"]
        print_rows(rows, ["user_id", "partition", *shown], as_json=as_json)
    if not waits:
        say("asked for, and not waited for" + (": the embedded broker does not tell" if wait else " (--no-wait)"))
        return
    _tell(settings, reports, search=search)
    if any(report.waits_for for report in reports):
        _refuse(erasure, topic, reports, timeout)


def _row(topic: str, report: UserReport, at_ms: int, *, waits: bool) -> dict[str, Any]:
    row = {"topic": topic, **asdict(report), "at": at_ms}
    waits_for = row.pop("waits_for")
    if not waits:
        return {name: value for name, value in row.items() if name not in ("found_in", "misplaced_in")}
    return {**row, "done": not waits_for}


def _tell(settings: Settings, reports: Sequence[UserReport], *, search: bool) -> None:
    for report in reports:
        if report.misplaced_in:
            places = ", ".join(map(str, report.misplaced_in))
            say(
                f"{report.user_id}: data lay in partition {places} too, not only in that of the key, "
                f"{report.partition}; a producer uses another partitioner: see `sidestream state verify`"
            )
    if not search:
        say("partitions that are not the users' were not searched (--no-search)")
    say(
        f"on disks: tables that a worker no longer needs are deleted {settings.lane.table_cleanup_s:g} s after their "
        f"partition has left it, erased bytes leave the tables in use within {settings.lane.table.purge_s:g} s; "
        "folders of workers that no longer run stay: see `sidestream state tables`"
    )


def _refuse(erasure: EraseUsers, topic: str, reports: Sequence[UserReport], timeout_s: float) -> None:
    left = [report for report in reports if report.waits_for]
    where = ", ".join(f"{report.user_id} in {'/'.join(map(str, report.waits_for))}" for report in left)
    workers = erasure.num_workers()
    why = (
        f"{workers} workers run and have not answered: see their /readyz, and {topic}.dlq for refused requests"
        if workers
        else "no worker runs; it is done once one does"
    )
    fail(f"not confirmed after {timeout_s:g} s: user and partition {where}; the requests are stored; {why}")
    raise typer.Exit(1)
