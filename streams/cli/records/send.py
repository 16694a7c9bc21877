"""`sidestream send`: publish one event, or one per line of stdin."""

import sys
from typing import Annotated, Any

import typer

from sidestream.models.records import CatalogItem, Listen, LiveSegment, Record, SessionStart
from sidestream.streams.cli.connection import reach
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, print_json, print_rows, say
from sidestream.streams.cli.records.compose import What, parse_event
from sidestream.streams.client import SidestreamClient


def send(
    ctx: typer.Context,
    what: Annotated[What, typer.Argument(help="Kind of event.")],
    value: Annotated[str, typer.Argument(help="JSON object, or - for one per line on stdin.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="session-start: wait for its candidates and print them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish an event; ids and time are filled in where they are missing.

    These are `event_id`, `session_id` and `at`.
    """
    settings = settings_of(ctx)
    with SidestreamClient(reach(settings), settings.topics) as client:
        for line in sys.stdin if value == "-" else [value]:
            if not line.strip():
                continue
            record = parse_event(what, line, settings)
            if isinstance(record, SessionStart) and wait:
                answer = client.request_candidates(record)
                if as_json:
                    print_json(answer.model_dump(mode="json", exclude_none=True))
                else:
                    rows = [c.model_dump(mode="json") for c in answer.candidates]
                    print_rows(rows, ["rank", "item_id", "sid", "score", "familiar", "reserved"], as_json=False)
                    say(f"fallback: {answer.fallback.reason if answer.fallback else 'none'}; {answer.timings_ms}")
                continue
            future = _publish(client, record)
            client.flush()
            place = future.get(timeout=1)
            print_facts({"topic": place.topic, "partition": place.partition, "offset": place.offset}, as_json=as_json)


def _publish(client: SidestreamClient, record: Record) -> Any:
    if isinstance(record, Listen):
        return client.publish_listen(record)
    if isinstance(record, CatalogItem):
        return client.publish_item(record)
    if isinstance(record, SessionStart):
        return client.publish_session_start(record)
    if isinstance(record, LiveSegment):
        return client.publish_segment(record)
    raise TypeError(type(record).__name__)
