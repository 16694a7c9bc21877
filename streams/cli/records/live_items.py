"""`sidestream live`: the live items, what they are right now, and how often their SIDs change."""

import time

import typer

from sidestream.models.records import ItemSids
from sidestream.streams.cli.connection import clients_of
from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_rows
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.kafka.read_rules import keep_last
from sidestream.streams.kafka.tail import read_topic
from sidestream.streams.terminal import Column
from sidestream.streams.tokenizing.live.reading import value_of
from sidestream.tokenizer.live import LiveState, decode_state
from sidestream.tokenizer.sid import format_sid

COLUMNS = (
    Column("item", kind="id", priority=0),
    Column("title", priority=1, least=10),
    Column("sid", kind="id", priority=2, least=9),
    Column("changes", kind="number", priority=3),
    Column("last_hour", kind="number", priority=4),
    Column("listens", kind="number", priority=5),
    Column("heard_at", priority=6, least=19),
    Column("window_segments", "segments", kind="number", priority=7),
    Column("revision", kind="number", priority=8),
)


def show(ctx: typer.Context, as_json: Json = False) -> None:
    """List the live items: SIDs, and how often they changed.

    Changes are counted in the last hour of an item's own time.
    """
    settings = settings_of(ctx)
    latest: dict[bytes, bytes] = {}
    keep_last(read_topic(clients_of(settings), build_topics(settings.topics).live_states.name), latest)
    states = [decode_state(value) for value in latest.values()]
    rows = [_row(value_of(state), state) for state in states]
    print_rows(sorted(rows, key=lambda row: str(row["item"])), COLUMNS, as_json=as_json)


def _row(value: ItemSids, state: LiveState) -> dict[str, object]:
    listens = [max((mean.weight for mean in partial.means.values()), default=0.0) for partial in state.partials]
    heard = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(state.newest_at / 1e3)) if state.newest_at else None
    return {
        "item": value.item_id,
        "title": value.title,
        "sid": " ".join(format_sid(value.versions[version].sid) for version in sorted(value.versions)),
        "revision": state.revision,
        "changes": state.num_changes,
        "last_hour": state.changes_last_hour(state.newest_at),
        "window_segments": len(state.spans),
        "listens": round(sum(listens), 1),
        "heard_at": heard,
    }
