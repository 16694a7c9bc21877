"""`sidestream send`: publish one event, those of a file, or those that come on stdin."""

from itertools import chain
from typing import Annotated, Any

import typer

from sidestream.models.records import CatalogItem, Listen, LiveSegment, Record, SessionStart
from sidestream.streams.cli.connection import clients_of, reach
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, say
from sidestream.streams.cli.records.compose import What
from sidestream.streams.cli.records.sending import events_of, is_file, publish_all, warn_of_expired
from sidestream.streams.cli.views.candidates import print_answer
from sidestream.streams.cli.views.titles import read_titles
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.runtime.clock import WallClock


def send(
    ctx: typer.Context,
    what: Annotated[What, typer.Argument(help="Kind of event.")],
    value: Annotated[str, typer.Argument(help="JSON object, a file of JSON objects, or - for stdin.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="For a session-start: wait for its candidates and print them.")
    ] = False,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Leave out unknown fields instead of refusing them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish an event; ids and time are filled in where they are missing.

    These are `event_id`, `session_id` and `at`.
    """
    settings = settings_of(ctx)
    records = warn_of_expired(events_of(what, value, settings, ignore_unknown=ignore_unknown), say, WallClock()())
    # What is wrong with the first event, or anywhere in a file, is reported before any Kafka is asked for.
    first = next(records, None)
    with SidestreamClient(reach(settings), settings.topics) as client:
        whole = () if first is None else chain((first,), records)
        if is_file(value) and not wait:
            published = publish_all(whole, lambda record: _publish(client, record), client.flush)
            print_facts({"file": value, "published": published}, as_json=as_json)
            return
        for record in whole:
            if isinstance(record, SessionStart) and wait:
                answer = client.request_candidates(record)
                titles = {} if as_json else read_titles(clients_of(settings), build_topics(settings.topics))
                print_answer(answer, titles, as_json=as_json)
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
