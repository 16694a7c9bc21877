"""Liveness and readiness of the worker, with the reasons if it is not, collected from its parts."""

from collections.abc import Callable, Iterable

from sidestream.streams.runtime.metrics import Metrics

Reasons = Callable[[], Iterable[str]]


class Health:
    """Collects reasons; each part registers a function that returns its current reasons.

    Args:
        metrics: Holds the gauge `sidestream_ready`.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._not_ready: list[Reasons] = []
        self._not_alive: list[Reasons] = []

    def add_readiness_check(self, reasons: Reasons) -> None:
        """Register a check that returns why a part is not ready; empty if it is."""
        self._not_ready.append(reasons)

    def add_liveness_check(self, reasons: Reasons) -> None:
        """Register a check that returns why the worker should be restarted; empty if it should not."""
        self._not_alive.append(reasons)

    def not_ready(self) -> list[str]:
        """Return why the worker is not ready, in the order of registration."""
        reasons = [reason for part in (*self._not_alive, *self._not_ready) for reason in part()]
        self._metrics.ready.set(0 if reasons else 1)
        return reasons

    def not_alive(self) -> list[str]:
        """Return why the worker should be restarted."""
        return [reason for part in self._not_alive for reason in part()]
