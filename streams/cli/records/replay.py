"""`sidestream replay`: a log folder played onto the topics."""

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
from sidestream.streams.replay.position import PositionFile
from sidestream.streams.replay.publisher import TopicPublisher
from sidestream.streams.replay.target import read_target
from sidestream.streams.runtime import termination


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
    how = with_values(settings.replay, "replay", {"speed": speed})
    clients, topics = clients_of(settings), build_topics(settings.topics)
    place = PositionFile(file, folder, read_target(clients, topics))
    if restart:
        file.unlink(missing_ok=True)
    elif place.is_elsewhere:
        say(f"the position in {file} is that of another Kafka, or of topics since created anew: starting over")
    file.parent.mkdir(parents=True, exist_ok=True)
    with progress_line() as step:

        async def play() -> dict[str, Any]:
            async with TopicPublisher(clients, topics, how.stamp) as publisher:
                player = Player(
                    folder, publisher, how, position=place,
                    on_progress=lambda at: step("replay", at.published, at.total, ""),
                )  # fmt: skip
                progress = await player.play()
                sent = sum(progress.sent.values())
                return {"sent": sent, "published": progress.published, "total": progress.total, **progress.sent}

        facts = termination.run(play())
    if not facts["sent"]:
        say(
            f"nothing was sent: all {facts['published']} rows were published to this Kafka before, by the position in "
            f"{file}; --restart publishes them again"
        )
    print_facts(facts, as_json=as_json)
