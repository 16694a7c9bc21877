"""Admission to the engine in order of arrival, with load shedding of session-starts that would miss their deadline.

The session lane bounds the queue. All session-starts have the same time to their deadline, so the first in the queue
also has the earliest deadline: when more wait than can be answered, the oldest are shed.
"""

import asyncio
import time
from collections.abc import Callable

from sidestream.streams.sessions.settings import SessionSettings

# Weight of the newest answer in the moving average of the answer time: about the last ten count.
_NEWEST = 0.1


class Admission:
    """Queue in front of the engine.

    Args:
        settings: Deadline and number of concurrent answers.
        seconds: Monotonic clock in seconds.
    """

    def __init__(self, settings: SessionSettings, seconds: Callable[[], float] = time.perf_counter) -> None:
        self._deadline_s = settings.deadline_ms / 1e3
        self._slots = asyncio.Semaphore(settings.max_in_flight)
        self._seconds = seconds
        self._typical_s = 0.0

    async def enter(self, fetched_s: float) -> bool:
        """Wait for a slot as long as an answer could still be in time.

        Args:
            fetched_s: When the session-start was fetched, by the monotonic clock.

        Returns:
            Whether it got a slot, to be released with `leave`; otherwise it must be shed.
        """
        if not self._slots.locked():
            return await self._slots.acquire()
        # Even an engine that is too slow for every deadline gets half of the time, or it would never recover.
        needed_s = min(self._typical_s, self._deadline_s / 2)
        left_s = fetched_s + self._deadline_s - needed_s - self._seconds()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await self._slots.acquire()
        except TimeoutError:
            return False

    def leave(self, took_s: float) -> None:
        """Release a slot; `took_s` is the duration of the answer."""
        self._typical_s += _NEWEST * (took_s - self._typical_s)
        self._slots.release()
