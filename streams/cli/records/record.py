"""`sidestream record`: what the topics hold becomes a log folder."""

from pathlib import Path
from typing import Annotated

import typer

from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, progress_line, say
from sidestream.streams.cli.training.folder_facts import manifest_facts
from sidestream.streams.cli.training.own_data import SessionGap, Split, TestFrom, ValidFrom, split_options
from sidestream.streams.contracts.decode import Limits
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.operate.deadletters import parse_moment
from sidestream.streams.operate.recording import Recorded, RecordOptions, record_topics
from sidestream.streams.operate.recording.spool import FOLDER
from sidestream.streams.runtime.clock import WallClock


def record(
    ctx: typer.Context,
    dst: Annotated[Path, typer.Argument(help="Log folder to make, or of an earlier recording to bring up to date.")],
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Only events from this time on: 7d (before the first run), 2026-03-01T12:00 (UTC) or epoch ms; "
            "default: all.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only events before this time; default: now.")] = None,
    split: Split = "none",
    session_gap: SessionGap = 30.0,
    valid_from: ValidFrom = None,
    test_from: TestFrom = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Record anew: what an earlier run recorded is replaced.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Record listens, session-starts and items from the topics.

    Erased users are left out, also those erased since an earlier run.
    """
    settings, now_ms = settings_of(ctx), WallClock()()
    options = RecordOptions(
        from_at=None if since is None else parse_moment(since, now_ms),
        from_text=since,
        overwrite=overwrite,
        until=now_ms + 1 if until is None else parse_moment(until, now_ms),
        split=split_options(split, session_gap, valid_from, test_from, now_ms),
        memory_bytes=settings.importing.sort_memory_mb << 20,
        limits=Limits.from_settings(settings.topics),
    )
    topics = build_topics(settings.topics)
    clients = clients_of(settings)
    try:
        with progress_line() as step:
            done = record_topics(clients, topics, dst, options, step)
    except KeyboardInterrupt:
        say(f"stopped; run it again: it goes on from what {dst / FOLDER} keeps")
        raise
    print_facts(_facts(done, dst), as_json=as_json)
    for topic, refused in done.refused.items():
        say(f"{topic}: {sum(refused.reasons.values()):,} records are no values of it, such as {refused.named[0]}")


def _facts(done: Recorded, dst: Path) -> dict[str, object]:
    return {
        **manifest_facts(done.manifest, dst),
        "read": dict(done.read),
        "refused": {topic: dict(refused.reasons) for topic, refused in done.refused.items()},
        "erased": done.erased,
        "lost": done.lost,
    }
