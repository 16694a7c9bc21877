"""`sidestream tail`: the records of a topic as they come."""

import json
import os
from typing import Annotated, Any

import typer

from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json, finite
from sidestream.streams.cli.output import live_table, print_json
from sidestream.streams.cli.views.tail import view_of
from sidestream.streams.cli.views.titles import read_titles
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.contracts.unreadable import Unreadable
from sidestream.streams.kafka.tail import TopicRecord, read_topic


def tail(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help="Topic without the prefix, such as candidates.v1.")],
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest record, not with the next one.")
    ] = False,
    key: Annotated[str | None, typer.Option(help="Only records with exactly this key; default: all.")] = None,
    limit: Annotated[
        int | None, typer.Option("-n", "--limit", min=1, help="Stop after this many records; default: no limit.")
    ] = None,
    idle_s: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Stop after this many seconds without any record; default: never."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the records of a topic as they come, until Ctrl-C."""
    settings, view = settings_of(ctx), view_of(topic)
    clients, name = clients_of(settings), settings.topics.prefix + topic
    titles = read_titles(clients, build_topics(settings.topics)) if view.wants_titles and not as_json else {}
    table = live_table(view.columns)
    found = read_topic(clients, name, from_start=from_start, follow=True, idle_s=idle_s)
    wanted = None if key is None else os.fsencode(key)  # also one that is no UTF-8
    shown = (record for record in found if wanted is None or record.key == wanted)
    for count, record in enumerate(shown, start=1):
        if as_json:
            print_json(_as_json(record))
        else:
            table.add(view.row(record, titles))
        if limit is not None and count >= limit:
            return


def _as_json(record: TopicRecord) -> dict[str, Any]:
    def text(raw: bytes | None) -> Any:
        if raw is None:
            return None
        decoded = raw.decode(errors="replace")
        try:
            return json.loads(decoded)
        except ValueError:
            return decoded

    key, value, headers, more = record.key, record.value, record.headers, {}
    if isinstance(value, Unreadable):
        more = {"unreadable": value.why, "first_offset": value.first_offset, "content": value.part}
        headers = tuple((name, content or b"") for name, content in value.headers)
        key, value = value.key, value.content
    return {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if key is None else key.decode(errors="replace"),
        "value": text(value),
        "headers": {name: content.decode(errors="replace") for name, content in headers},
        **more,
    }
