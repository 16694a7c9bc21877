"""`sidestream state get`: a listener's state, asked of the worker that holds it."""

import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from sidestream.streams.cli.context import settings_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.output import print_facts, print_json, print_rows
from sidestream.streams.errors import BrokerError

HTTP_TIMEOUT_S = 5


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
