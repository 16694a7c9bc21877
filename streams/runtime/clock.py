"""Clocks: the wall clock, or the event time of a log that is being replayed."""

import time
from typing import Protocol


class Clock(Protocol):
    """UTC epoch milliseconds; `observe` lets event times advance it."""

    def __call__(self) -> int:
        """Return the time."""
        ...

    def observe(self, at_ms: int) -> None:
        """Note the time of an event."""
        ...


class WallClock:
    """Clock of the machine."""

    def __call__(self) -> int:
        """Return the time."""
        return time.time_ns() // 1_000_000

    def observe(self, at_ms: int) -> None:
        """Ignore event times."""


class LogClock:
    """Latest event time seen, for old logs replayed at any speed, where the wall clock is meaningless.

    Items expire and age by this time; it never goes back.
    """

    def __init__(self) -> None:
        self._latest_ms = 0

    def __call__(self) -> int:
        """Return the time."""
        return self._latest_ms

    def observe(self, at_ms: int) -> None:
        """Advance to the time of an event if it is later."""
        self._latest_ms = max(self._latest_ms, at_ms)
