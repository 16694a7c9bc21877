"""`sidestream dlq`: look at dead letters and replay them."""

import asyncio
import time
from collections import Counter
from typing import Annotated, Any, Literal

import typer

from sidestream.models.data.quantities import quantity
from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_bytes, print_facts, say
from sidestream.streams.cli.views.letters import letter_row, print_letter, print_letters
from sidestream.streams.contracts.decode import Reason
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.errors import SettingsError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.operate.deadletters import (
    DeadLetterReader,
    Place,
    Replayer,
    ReplayReport,
    Selection,
    parse_moment,
)
from sidestream.streams.runtime import termination

Topic = Annotated[
    list[str] | None, typer.Option("--topic", help="Only letters of this source topic, without the prefix; may repeat.")
]
Why = Annotated[list[Reason] | None, typer.Option("--reason", help="Only letters with this reason; may repeat.")]
Partition = Annotated[
    list[int] | None, typer.Option("--partition", min=0, help="Only letters of this source partition; may repeat.")
]
Since = Annotated[
    str | None,
    typer.Option(
        help="Only letters written since then: 2h, 7d (ago), 2026-03-01T12:00 (UTC) or epoch ms; default: all."
    ),
]
Until = Annotated[str | None, typer.Option(help="Only letters written before then; default: all.")]
MaxAttempt = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Only letters of at most this attempt; 1 leaves out those that failed again after a replay; default: all.",
    ),
]


def list_letters(
    ctx: typer.Context,
    topic: Topic = None,
    reason: Why = None,
    partition: Partition = None,
    since: Since = None,
    until: Until = None,
    max_attempt: MaxAttempt = None,
    replayed: Annotated[bool, typer.Option("--replayed", help="Also list letters that were replayed.")] = False,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Largest number of rows.")] = 100,
    as_json: Json = False,
) -> None:
    """List the dead letters that were not replayed yet."""
    _, box = _open(ctx)
    selection = _selection([], topic, reason, partition, since, until, max_attempt)
    rows: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    for name in box.letter_topics(selection):
        done = box.replayed(name)
        for letter in box.letters(name, selection):
            is_done = letter.place.offset in done.get(letter.place.partition, ())
            if is_done and not replayed:
                continue
            reasons[letter.reason] += 1
            if len(rows) < limit:
                rows.append({**letter_row(letter), "replayed": is_done})
    print_letters(rows, as_json=as_json)
    found = ", ".join(f"{code} {count}" for code, count in reasons.most_common()) or "none"
    left_out = f"; the first {limit} shown" if reasons.total() > limit else ""
    say(f"{quantity(reasons.total(), 'dead letter')}: {found}{left_out}")


def show(
    ctx: typer.Context,
    letter: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET, as `dlq list` prints it.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the original value, byte for byte, and nothing else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show all of one dead letter."""
    _, box = _open(ctx)
    found = box.get(Place.parse(letter))
    if raw:
        print_bytes(found.value or b"")
    else:
        print_letter(found, as_json=as_json)


def replay(
    ctx: typer.Context,
    letters: Annotated[
        list[str] | None, typer.Argument(help="Letters to replay: TOPIC/PARTITION/OFFSET, as `dlq list` prints them.")
    ] = None,
    topic: Topic = None,
    reason: Why = None,
    partition: Partition = None,
    since: Since = None,
    until: Until = None,
    max_attempt: MaxAttempt = None,
    everything: Annotated[bool, typer.Option("--everything", help="All letters that were not replayed yet.")] = False,
    stamp: Annotated[
        Literal["now", "original"],
        typer.Option(
            help="Kafka timestamp of the replayed record: the present, or its original one, by which a worker may skip "
            "old session-starts (session.max_age_ms)."
        ),
    ] = "now",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be replayed, and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters to the topics they came from, each once.

    A letter that was replayed is not sent again, however often this is run.
    """
    selection = _selection(letters or [], topic, reason, partition, since, until, max_attempt)
    if selection.is_everything and not everything:
        msg = "dlq replay: expected letters, a restriction such as --reason, or --everything; got none of them"
        raise SettingsError(msg)
    clients, box = _open(ctx)
    if dry_run:
        rows: list[dict[str, Any]] = []
        report = Replayer(clients, box, stamp, lambda letter: rows.append(letter_row(letter))).preview(selection)
        if not as_json:
            print_letters(rows, as_json=False, with_replayed=False)
        facts = {**_facts(report), "dry_run": True}
        if as_json:
            print_facts({**facts, "letters": rows}, as_json=True)
        else:
            print_facts({"would_replay": facts.pop("replayed"), **facts}, as_json=False)
        return

    async def run() -> ReplayReport:
        # aiokafka leaves inner futures of a failed transaction unread; the failure itself is raised here.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        return await Replayer(clients, box, stamp).replay(selection)

    report = termination.run(run())
    print_facts({**_facts(report), "exactly_once": report.exactly_once, "dry_run": False}, as_json=as_json)


def _open(ctx: typer.Context) -> tuple[Clients, DeadLetterReader]:
    settings = settings_of(ctx)
    clients = clients_of(settings)
    return clients, DeadLetterReader(clients, build_topics(settings.topics), settings.topics.prefix)


def _selection(
    letters: list[str],
    topics: list[str] | None,
    reasons: list[Reason] | None,
    partitions: list[int] | None,
    since: str | None,
    until: str | None,
    max_attempt: int | None,
) -> Selection:
    now_ms = time.time_ns() // 1_000_000
    return Selection(
        frozenset(map(Place.parse, letters)),
        frozenset(topics or ()),
        frozenset(reason.value for reason in reasons or ()),
        frozenset(partitions or ()),
        None if since is None else parse_moment(since, now_ms),
        None if until is None else parse_moment(until, now_ms),
        max_attempt,
    )


def _facts(report: ReplayReport) -> dict[str, Any]:
    return {
        "replayed": report.replayed.total(),
        "by_topic": dict(report.replayed),
        "replayed_before": report.before,
        "skipped": dict(report.skipped),
    }
