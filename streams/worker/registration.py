"""Registers a worker in this machine's registry while its web server runs, so that commands find it."""

import os
import platform
import time
from pathlib import Path

from mode import Service

from sidestream.streams.running.births import birth
from sidestream.streams.running.workers import WorkerEntry, worker_registry
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.settings import Settings
from sidestream.streams.worker.web.server import WebServer

_log = get_log(__name__)


class Registration(Service):
    """Writes the worker's entry at its start and removes it at its end.

    Args:
        settings: All settings.
        folder: The worker's own folder.
        web: Its web server, already started.
    """

    mundane_level = "debug"

    def __init__(self, settings: Settings, folder: Path, web: WebServer) -> None:
        super().__init__()
        self._settings = settings
        self._folder = folder
        self._web = web
        self._entry: WorkerEntry | None = None

    async def on_start(self) -> None:
        """Write the entry."""
        worker, pid = self._settings.worker, os.getpid()
        entry = WorkerEntry(
            pid=pid,
            birth=birth(pid),
            host=platform.node(),
            bootstrap=self._settings.kafka.bootstrap or "",
            web_host=self._settings.web.host,
            web_port=self._web.port,
            app_id=worker.app_id,
            role=worker.role,
            instance=worker.instance or 1,
            data_dir=str(self._settings.data_dir.expanduser().resolve()),
            folder=str(Path.cwd()),
            started_at=time.time_ns() // 1_000_000,
        )
        try:
            worker_registry().put(entry)
        except OSError as error:
            # Commands then need web.port; the worker itself does not depend on the entry.
            _log.warning("worker could not be registered", reason=str(error))
            return
        self._entry = entry

    async def on_stop(self) -> None:
        """Remove the entry."""
        if self._entry is not None:
            worker_registry().remove(self._entry)
