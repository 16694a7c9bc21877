"""uvicorn as a service on the worker's event loop, started before Faust joins its group.

The worker keeps the signal handlers: with uvicorn's own, a SIGTERM would stop the web server and nothing else.
"""

import asyncio
import contextlib
import errno
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI
from mode import Service

from sidestream.streams.errors import SettingsError
from sidestream.streams.running.workers import web_url
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.worker.web.settings import WebSettings

_log = get_log(__name__)
_ASK_TIMEOUT_S = 5.0
# How many ports after the default one are tried while other workers have them.
_MAX_NEIGHBOURS = 100


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections, then set `up`."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the worker."""
        yield


class WebServer(Service):
    """Serves the worker's HTTP routes until the worker ends.

    Args:
        web: The application.
        settings: Host and port.

    Attributes:
        on_listening: Called with the URL of the pages as soon as they can be asked for.
    """

    mundane_level = "debug"

    def __init__(self, web: FastAPI, settings: WebSettings) -> None:
        super().__init__()
        self.on_listening: Callable[[str], None] = lambda url: None
        self._settings = settings
        self._socket: socket.socket | None = None
        self._server = _Uvicorn(
            uvicorn.Config(web, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Return the port of the listening socket; 0 before the start."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    async def on_start(self) -> None:
        """Bind and start serving; if another worker has the default port, on the next free one.

        Raises:
            SettingsError: The address is in use, or not one of this machine.
        """
        self._socket = await asyncio.to_thread(_bind_next_free, self._settings)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        waiting = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({self._serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        self.on_listening(web_url(self._settings.host, self.port))

    async def on_stop(self) -> None:
        """Stop serving; open connections get one second."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        if self._socket is not None:
            self._socket.close()


def _bind_next_free(settings: WebSettings) -> socket.socket:
    default = WebSettings.model_fields["port"].default
    neighbours = _MAX_NEIGHBOURS if settings.port == default else 0
    for port in range(settings.port, settings.port + neighbours + 1):
        try:
            listener = _bind(settings.host, port)
        except OSError as exc:
            if neighbours and exc.errno == errno.EADDRINUSE and _is_worker(web_url(settings.host, port)):
                continue
            msg = (
                f"web server: cannot listen on {settings.host}:{port} ({exc.strerror or exc}); "
                "choose another with --set web.port=… (SIDESTREAM_WEB__PORT), 0 takes a free one"
            )
            raise SettingsError(msg) from exc
        url = f"{web_url(settings.host, int(listener.getsockname()[1]))}/readyz"
        if port != settings.port:
            _log.info("another worker uses the default port; serving on another", url=url, taken=default)
        elif port == 0:
            _log.info("serving on a free port", url=url)
        return listener
    msg = (
        f"web server: other workers use all ports from {settings.port} to {port}; choose another with --set web.port=…"
    )
    raise SettingsError(msg)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Binding does not claim the port: of two workers that start at once both could bind, and one would fail later.
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _is_worker(url: str) -> bool:
    """Whether a Sidestream worker answers there; a port that another program uses is an error instead."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=_ASK_TIMEOUT_S) as answer:  # noqa: S310 - our own scheme
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError:
        return False
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and "ready" in answer and "reasons" in answer
