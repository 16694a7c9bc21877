"""Gives out the places at the engine in order of arrival, and says who will not get one in time.

What waits here is bounded by the session lane. All have the same time to their deadline, so the first in line is also
the one whose deadline comes first: when more wait than can be answered, the oldest are the ones that are shed.
"""

import asyncio
import time
from collections.abc import Callable

from sidestream.streams.sessions.settings import SessionSettings

# Weight of the newest answer in the typical time of one: about the last ten count.
_NEWEST = 0.1


class Admission:
    """A line before the engine.

    Args:
        settings: Deadline and number of places.
        seconds: Monotonic clock in seconds.
    """

    def __init__(self, settings: SessionSettings, seconds: Callable[[], float] = time.perf_counter) -> None:
        self._deadline_s = settings.deadline_ms / 1e3
        self._places = asyncio.Semaphore(settings.max_in_flight)
        self._seconds = seconds
        self._typical_s = 0.0

    async def enter(self, fetched_s: float) -> bool:
        """Wait for a place as long as an answer could still come in time.

        Args:
            fetched_s: When the session-start was fetched, by the monotonic clock.

        Returns:
            Whether it has a place, to be given back by `leave`; else it is to be shed.
        """
        if not self._places.locked():
            return await self._places.acquire()
        # Even an engine that is too slow for every deadline is tried in half of the time, or it would never recover.
        needed_s = min(self._typical_s, self._deadline_s / 2)
        left_s = fetched_s + self._deadline_s - needed_s - self._seconds()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await self._places.acquire()
        except TimeoutError:
            return False

    def leave(self, took_s: float) -> None:
        """Give a place back.

        Args:
            took_s: How long the answer took.
        """
        self._typical_s += _NEWEST * (took_s - self._typical_s)
        self._places.release()
