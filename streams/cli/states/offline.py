"""`sidestream state verify`, `rebase`, `reset`, `skip-lost` and `tables`: all states, while no worker runs."""

import contextlib
from dataclasses import asdict
from typing import Annotated

import typer

from sidestream.models.records import ItemSids
from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, print_rows, progress_line, say
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.errors import BadRecord, SettingsError
from sidestream.streams.generations.orders import Orders
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.operate.states import OfflineStates, rebase_states, reset_states, verify_states
from sidestream.streams.operate.states.lost import skip_lost as find_and_skip_lost
from sidestream.streams.operate.states.tables import list_tables
from sidestream.streams.runtime import termination
from sidestream.streams.settings import Settings
from sidestream.streams.worker.folder import TABLES, worker_folders
from sidestream.tokenizer.catalogue import StoredSid
from sidestream.tokenizer.sid import item_key


def verify(
    ctx: typer.Context,
    tables: Annotated[bool, typer.Option(help="Also compare this machine's local tables.")] = True,
    as_json: Json = False,
) -> None:
    """Compare changelog, pure fold of the log and local tables.

    Exit code 1 if they differ.
    """
    settings = settings_of(ctx)
    offline = offline_states(settings)
    with progress_line() as step:
        step("read SIDs", 0, 1, "")
        sids = _sids_now(offline)
        report = termination.run(
            verify_states(
                offline,
                sids.get,
                Limits.from_settings(settings.topics),
                with_tables=tables,
                progress=lambda done, total: step("partitions", done, total, ""),
            )
        )
    for line in (*report.differences, *report.notes):
        say(line)
    facts = asdict(report)
    if not as_json:
        facts = {name: value for name, value in facts.items() if name not in ("differences", "notes")}
    print_facts(facts, as_json=as_json)
    if report.wrong:
        raise typer.Exit(1)


def rebase(
    ctx: typer.Context,
    refold: Annotated[
        bool, typer.Option("--refold", help="If no state is left, fold again what the listens topic still holds.")
    ] = False,
    leave_unfolded: Annotated[
        bool,
        typer.Option(
            "--leave-unfolded", help="Move users to other partitions although some of their listens were not folded."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Carry the states over to a recreated topic or changelog.

    The listens topic may have other partitions than before.
    """
    report = termination.run(
        rebase_states(offline_states(settings_of(ctx)), refold=refold, leave_unfolded=leave_unfolded)
    )
    for reason in report.reasons:
        say(reason)
    print_facts(asdict(report), as_json=as_json)


def reset(
    ctx: typer.Context,
    partition: Annotated[list[int] | None, typer.Option(min=0, help="Only this partition; may repeat.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also remove the changelog and the group's offsets: states are folded again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --all.")] = False,
    as_json: Json = False,
) -> None:
    """Remove this machine's local tables; workers rebuild them.

    They read the changelog for it.
    """
    settings = settings_of(ctx)
    offline = offline_states(settings)
    count = offline.identity.num_partitions
    partitions = sorted(set(range(count) if partition is None else partition))
    if partitions and partitions[-1] >= count:
        msg = f"--partition: expected less than {count} (topics.user_partitions), got {partitions[-1]}"
        raise SettingsError(msg)
    if everything and not yes:
        typer.confirm(
            f"Remove the states of {len(partitions)} partitions from {offline.identity.changelog_topic} and fold them "
            "anew from what the listens topic still holds?",
            abort=True,
            err=True,
        )
    report = termination.run(reset_states(offline, partitions, everything=everything))
    print_facts(asdict(report), as_json=as_json)


def skip_lost(ctx: typer.Context, as_json: Json = False) -> None:
    """Go on after listens that retention deleted before they were folded.

    A worker stops at such a gap. This says which listens are missing, and lets workers start after them.
    """
    gaps = termination.run(find_and_skip_lost(offline_states(settings_of(ctx))))
    print_rows(
        [{**asdict(gap), "count": gap.count} for gap in gaps], ["partition", "first", "end", "count"], as_json=as_json
    )
    if gaps:
        say(f"{sum(gap.count for gap in gaps):,} listens are in no state; workers go on after them")
    else:
        say("no listens are missing: all that are not folded are still there")


def tables(
    ctx: typer.Context,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the tables of workers that do not run; those that do keep theirs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the local tables, and delete those that no worker uses.

    Those of all workers of this data folder; needs no Kafka. A worker that is started again restores what it needs.
    """
    folders = worker_folders(settings_of(ctx))
    found = list_tables(folders, delete_idle=delete)
    print_rows(
        [asdict(facts) for facts in found],
        ["worker", "partition", "topic", "is_running", "size_bytes", "changed_at", *(["is_deleted"] if delete else [])],
        as_json=as_json,
    )
    idle = {facts.worker for facts in found if not facts.is_running and not facts.is_deleted}
    if idle:
        say(
            f"no worker runs in {', '.join(sorted(idle))}: users who are erased from now on stay there until one is "
            "started again, or `sidestream state tables --delete`"
        )


def offline_states(settings: Settings) -> OfflineStates:
    """Make the access to the states of an installation.

    Args:
        settings: All settings.

    Returns:
        The states, with the local tables of all workers of the data folder.

    Raises:
        BrokerError: No Kafka answers.
    """
    folder, *more = (folder / TABLES for folder in worker_folders(settings))
    topics = build_topics(settings.topics)
    return OfflineStates(clients_of(settings), topics, settings.lane, settings.worker.group_id, folder, tuple(more))


def _sids_now(offline: OfflineStates) -> dict[int, StoredSid]:
    """Read the SIDs of all items, under the version that serves where they have one."""
    orders = Orders()
    for record in read_topic(offline.clients, offline.topics.generations.name):
        with contextlib.suppress(BadRecord):  # workers skip it, too
            orders.order(record.key, record.value, record.offset)
    active = None if orders.active is None else orders.active.version
    sids = {}
    for record in read_topic(offline.clients, offline.topics.item_sids.name):
        if record.value is not None and not isinstance(record.value, Unreadable):
            value = ItemSids.from_json(record.value)
            version = active if active in value.versions else next(reversed(value.versions))
            sids[item_key(value.item_id)] = StoredSid(version, value.versions[version].sid)
    return sids
