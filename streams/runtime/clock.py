"""What time it is: the wall clock, or the time of the log that is being played."""

import time
from typing import Protocol


class Clock(Protocol):
    """UTC epoch milliseconds; `observe` lets a log's own time move it."""

    def __call__(self) -> int:
        """Return the time."""
        ...

    def observe(self, at_ms: int) -> None:
        """Take note of an event's time."""
        ...


class WallClock:
    """The machine's clock."""

    def __call__(self) -> int:
        """Return the time."""
        return time.time_ns() // 1_000_000

    def observe(self, at_ms: int) -> None:
        """Ignore event times."""


class LogClock:
    """The latest event time seen: for logs of the past played at any speed, where the wall clock says nothing.

    Items expire and age by the log's time; it never goes back.
    """

    def __init__(self) -> None:
        self._latest_ms = 0

    def __call__(self) -> int:
        """Return the time."""
        return self._latest_ms

    def observe(self, at_ms: int) -> None:
        """Move on to an event's time if it is later."""
        self._latest_ms = max(self._latest_ms, at_ms)
