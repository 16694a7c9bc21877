"""`sidestream state erase`: ask for a user to be forgotten."""

from typing import Annotated

import typer
from pydantic import ValidationError

from sidestream.models.records.faults import faults
from sidestream.streams.cli.connection import reach
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts
from sidestream.streams.client import SidestreamClient
from sidestream.streams.errors import SettingsError
from sidestream.streams.operate.deadletters import parse_moment
from sidestream.streams.runtime.clock import WallClock


def erase(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(help="User id of the listener.")],
    at: Annotated[
        str | None,
        typer.Option(
            help="Erase listens up to this time: 2h, 7d (ago), 2026-03-01T12:00 (UTC) or epoch ms; default: now."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Erase all listens of a user up to now.

    The worker that holds the user does it within a batch.
    """
    settings, now_ms = settings_of(ctx), WallClock()()
    at_ms = now_ms if at is None else parse_moment(at, now_ms)
    with SidestreamClient(reach(settings), settings.topics) as client:
        try:
            future = client.erase_user(user, at_ms)
        except ValidationError as exc:
            msg = f"erase: {'; '.join(faults(exc))}"
            raise SettingsError(msg) from exc
        client.flush()
        place = future.get(timeout=1)
    facts = {"topic": place.topic, "partition": place.partition, "offset": place.offset, "at": at_ms}
    print_facts(facts, as_json=as_json)
