"""Stopwatch for the steps of one answer."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Steps:
    """A stopwatch with named steps; times of the same name are added.

    Args:
        seconds: Monotonic clock in seconds.
        started_s: Start of `total` by that clock; default: now.
    """

    def __init__(self, seconds: Callable[[], float] = time.perf_counter, started_s: float | None = None) -> None:
        self._seconds = seconds
        self._started_s = seconds() if started_s is None else started_s
        self._ms: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time spent in the block to a step, also if the block raises."""
        begun_s = self._seconds()
        try:
            yield
        finally:
            self.add(name, (self._seconds() - begun_s) * 1e3)

    def add(self, name: str, ms: float) -> None:
        """Add a time in milliseconds, measured elsewhere, to a step."""
        self._ms[name] = self._ms.get(name, 0.0) + ms

    def report_ms(self) -> dict[str, float]:
        """Return milliseconds per step, and `total` since the start."""
        total_ms = (self._seconds() - self._started_s) * 1e3
        return {name: round(ms, 3) for name, ms in (*self._ms.items(), ("total", total_ms))}
