"""`sidestream tail`: the records of a topic as they come."""

import json
from typing import Annotated, Any

import typer

from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_json
from sidestream.streams.kafka.tail import TopicRecord, read_topic


def tail(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help="Topic without the prefix, such as candidates.v1.")],
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest record.")] = False,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="End after so many records.")] = None,
    idle_s: Annotated[float | None, typer.Option(help="End after so many seconds without a record.")] = None,
    as_json: Json = False,
) -> None:
    """Print the records of a topic as they come, until Ctrl-C."""
    settings = settings_of(ctx)
    name = settings.topics.prefix + topic
    found = read_topic(clients_of(settings), name, from_start=from_start, follow=True, idle_s=idle_s)
    for count, record in enumerate(found, start=1):
        if as_json:
            print_json(_as_json(record))
        else:
            value = "(removed)" if record.value is None else record.value.decode(errors="replace")
            key = (record.key or b"").decode(errors="replace")
            typer.echo(f"{record.partition}:{record.offset}  {key}  {value}")
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

    return {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if record.key is None else record.key.decode(errors="replace"),
        "value": text(record.value),
        "headers": {name: value.decode(errors="replace") for name, value in record.headers},
    }
