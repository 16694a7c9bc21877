"""uvicorn as a service on the worker's own event loop, up before Faust joins its group.

The loop's signals stay with the worker: uvicorn's own handlers are left out, or a SIGTERM would stop the pages and
nothing else.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI
from mode import Service

from sidestream.streams.errors import SettingsError
from sidestream.streams.worker.web.settings import WebSettings


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting, and say so."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the worker."""
        yield


class WebServer(Service):
    """Serves the worker's pages until the worker ends.

    Args:
        web: The application.
        settings: Address.
    """

    mundane_level = "debug"

    def __init__(self, web: FastAPI, settings: WebSettings) -> None:
        super().__init__()
        self._settings = settings
        self._socket: socket.socket | None = None
        self._server = _Uvicorn(
            uvicorn.Config(web, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Return the port that is listened on; 0 before the start."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    async def on_start(self) -> None:
        """Bind and start serving.

        Raises:
            SettingsError: The address is taken or not ours.
        """
        self._socket = _bind(self._settings)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        waiting = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({self._serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def on_stop(self) -> None:
        """Stop serving; open connections get one second."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        if self._socket is not None:
            self._socket.close()


def _bind(settings: WebSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as exc:
        listener.close()
        msg = (
            f"web server: cannot listen on {settings.host}:{settings.port} ({exc.strerror or exc}); "
            "choose another with --set web.port=… (SIDESTREAM_WEB__PORT), 0 takes a free one"
        )
        raise SettingsError(msg) from exc
    return listener
