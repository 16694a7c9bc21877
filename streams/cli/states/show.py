"""`sidestream state get`: a listener's state, asked of the worker that holds it."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from sidestream.streams.cli.context import Context, context_of
from sidestream.streams.cli.options import Json
from sidestream.streams.cli.views.state import print_state
from sidestream.streams.errors import BrokerError
from sidestream.streams.running.selection import select_workers
from sidestream.streams.running.workers import web_url
from sidestream.streams.worker.web.addresses import state_url

HTTP_TIMEOUT_S = 5
# What a worker answers that does not hold the listener's partition.
MISDIRECTED = 421


def get_state(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(help="User id of the listener.")],
    whole: Annotated[bool, typer.Option("--history", help="Show all stored listens, not only the recent 50.")] = False,
    as_json: Json = False,
) -> None:
    """Show a listener's state, as the worker that holds it sees it."""
    urls = [state_url(url, user, whole=whole) for url in _urls(context_of(ctx))]
    print_state(_ask(urls), as_json=as_json)


def _urls(context: Context) -> list[str]:
    """Name the pages to ask: those at the given address, else those of the workers that run on this machine."""
    settings, origins = context.settings, context.origins
    web = web_url(settings.web.host, settings.web.port)
    given = {origins["web.host"], origins["web.port"]} - {"default"}
    if origins["broker.name"] == "flag":
        given &= {"flag"}
    if given:
        return [web]
    found = select_workers(settings.kafka.bootstrap, settings.broker.name, settings.data_dir)
    return [worker.url for worker in found] or [web]


def _ask(urls: Sequence[str]) -> dict[str, Any]:
    """Ask one worker after the other until one holds the listener's partition."""
    msg = ""
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310 - http from our settings
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except urllib.error.HTTPError as exc:
            msg = f"{url}: {_told(exc.read()) or exc.reason}"
            if exc.code != MISDIRECTED:
                break
        except (ValueError, http.client.HTTPException):
            msg = f"{url}: expected JSON from a worker, something else answers there; set web.port to the worker's"
        except OSError as exc:
            msg = f"{url}: no worker answers there ({_reason(exc)}); start one, or set web.host and web.port to its own"
    raise BrokerError(msg)


def _reason(error: OSError) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause)


def _told(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    return str(answer.get("error", "")) if isinstance(answer, dict) else ""
