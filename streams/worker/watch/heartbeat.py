"""The heartbeat: a task on the event loop that reports the parts' work to the watchdog, twice a second."""

import asyncio
from collections.abc import Callable

from mode import Service

from sidestream.streams.runtime.progress import Work
from sidestream.streams.worker.watch.watchdog import Watchdog

BEAT_S = 0.5


class Heartbeat(Service):
    """Reports to the watchdog. Started first and stopped last, so that everything in between is watched.

    Args:
        watchdog: The watchdog.
    """

    mundane_level = "debug"

    def __init__(self, watchdog: Watchdog) -> None:
        super().__init__()
        self._watchdog = watchdog
        self._works: dict[str, Callable[[], Work]] = {}

    def watch(self, part: str, work: Callable[[], Work], limit_s: float | None = None) -> None:
        """Watch a part's work.

        Args:
            part: Name shown in the reason.
            work: Returns the part's work; called on the event loop, must not block.
            limit_s: How long its work may wait; `None` means the common limit.
        """
        self._works[part] = work
        if limit_s is not None:
            self._watchdog.limit(part, limit_s)

    async def on_start(self) -> None:
        """Start the watchdog's thread and the heartbeat."""
        self._watchdog.start()
        self.add_future(self._beat())

    async def _beat(self) -> None:
        while True:
            self._watchdog.beat({part: work() for part, work in self._works.items()})
            await asyncio.sleep(BEAT_S)
