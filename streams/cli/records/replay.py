"""`sidestream replay`: a log folder played onto the topics."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestream.models.data import LogFolder
from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of, with_values
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, progress_line, say
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.replay import Player
from sidestream.streams.replay.publisher import TopicPublisher


def replay(
    ctx: typer.Context,
    log: Annotated[Path, typer.Argument(help="Log folder.")],
    speed: Annotated[
        float | None,
        typer.Option(
            help="Speed: 1 is real time, 60 an hour in a minute, 0 as fast as possible; default: replay.speed (0.0)."
        ),
    ] = None,
    position: Annotated[
        Path | None, typer.Option(help="File that holds the position; default: one in data_dir.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over instead of going on from the position.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Play a log folder onto the topics; goes on where it stopped."""
    settings = settings_of(ctx)
    folder = LogFolder(log)
    file = position or settings.data_dir / "replay" / f"{folder.manifest.identity}.json"
    if restart:
        file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    how = with_values(settings.replay, "replay", {"speed": speed})
    with progress_line() as step:

        async def play() -> dict[str, Any]:
            async with TopicPublisher(clients_of(settings), build_topics(settings.topics), how.stamp) as publisher:
                player = Player(
                    folder, publisher, how, position_file=file,
                    on_progress=lambda at: step("replay", at.published, at.total, ""),
                )  # fmt: skip
                progress = await player.play()
                return {"published": progress.published, "total": progress.total, **progress.sent}

        facts = asyncio.run(play())
    if len(facts) == len(("published", "total")):
        say(f"nothing was sent: by {file} the whole log has been played; --restart plays it again")
    print_facts(facts, as_json=as_json)
