"""`sidestream send`, `tail`, `replay` and `state`: talking with a running system."""

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestream.models.data import LogFolder
from sidestream.models.records import CatalogItem, Listen, LiveSegment, Record, SessionStart
from sidestream.streams.cli.connection import clients_of, reach
from sidestream.streams.cli.context import settings_of, with_values
from sidestream.streams.cli.events import What
from sidestream.streams.cli.output import print_facts, print_json, print_rows, say
from sidestream.streams.cli.sending import events_of, is_file, publish_all
from sidestream.streams.cli.training import progress_bar
from sidestream.streams.client import SidestreamClient
from sidestream.streams.contracts.topics import build_topics
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.tail import TopicRecord, read_topic
from sidestream.streams.replay import Player
from sidestream.streams.replay.publisher import TopicPublisher

state_app = typer.Typer(no_args_is_help=True, help="Look at listeners' states.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HTTP_TIMEOUT_S = 5


def send(
    ctx: typer.Context,
    what: Annotated[What, typer.Argument(help="Kind of event.")],
    value: Annotated[str, typer.Argument(help="JSON object, a file of them, or - for stdin.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="session-start: wait for its candidates and print them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish an event; `event_id`, `session_id` and `at` are filled in where they are missing."""
    settings = settings_of(ctx)
    records = events_of(what, value, settings)
    # What is wrong with the first event, or anywhere in a file, is told before any Kafka is asked for.
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


def replay(
    ctx: typer.Context,
    log: Annotated[Path, typer.Argument(help="Log folder.")],
    speed: Annotated[float | None, typer.Option(help="60 plays an hour in a minute; 0 as fast as possible.")] = None,
    position: Annotated[Path | None, typer.Option(help="File with the position; default: beside the data.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Start over instead of going on.")] = False,
    as_json: Json = False,
) -> None:
    """Play a log folder onto the topics; a replay that was stopped goes on where it was."""
    settings = settings_of(ctx)
    folder = LogFolder(log)
    file = position or settings.data_dir / "replay" / f"{folder.manifest.identity}.json"
    if restart:
        file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    how = with_values(settings.replay, "replay", {"speed": speed})
    with progress_bar() as step:

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


@state_app.command("get")
def get_state(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(help="Listener.")],
    whole: Annotated[bool, typer.Option("--history", help="All listens that are kept, not the recent 50.")] = False,
    as_json: Json = False,
) -> None:
    """Show a listener's state, as the worker that holds it sees it."""
    web = settings_of(ctx).web
    url = f"http://{web.host}:{web.port}/v1/users/{urllib.parse.quote(user, safe='')}/state"
    if whole:
        url += "?history=all"
    state = _fetch(url)
    if as_json:
        print_json(state)
        return
    history = state.pop("history", [])
    print_facts(state, as_json=False)
    history = [{**entry, "at": _time(entry["at"]), "sid": entry.get("sid") or "unknown"} for entry in history]
    print_rows(history, ["item_id", "sid", "at", "share", "signal", "tokenizer_version"], as_json=False)


def _fetch(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310 - http from our settings
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except urllib.error.HTTPError as exc:
        msg = f"{url}: {_told(exc.read()) or exc.reason}"
    except ValueError:
        msg = f"{url}: expected JSON from a worker; something else answers there, set web.port to the worker's"
    except OSError as exc:
        msg = f"{url}: no worker answers there ({exc}); start one, or set web.host and web.port to its own"
    raise BrokerError(msg)


def _told(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    return str(answer.get("error", "")) if isinstance(answer, dict) else ""


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


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
