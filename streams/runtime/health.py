"""Whether the worker lives and is ready, and the reasons if not, asked from every part that can tell."""

from collections.abc import Callable, Iterable

from sidestream.streams.runtime.metrics import Metrics

Reasons = Callable[[], Iterable[str]]


class Health:
    """Collects reasons; a part registers itself with a function that returns its reasons right now.

    Args:
        metrics: Keeps the gauge `sidestream_ready`.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._not_ready: list[Reasons] = []
        self._not_alive: list[Reasons] = []

    def ready_when(self, reasons: Reasons) -> None:
        """Register a part that the worker needs to be ready.

        Args:
            reasons: Why it is not ready; empty when it is.
        """
        self._not_ready.append(reasons)

    def alive_when(self, reasons: Reasons) -> None:
        """Register a part without which the worker should be restarted.

        Args:
            reasons: Why it should; empty when all is well.
        """
        self._not_alive.append(reasons)

    def not_ready(self) -> list[str]:
        """Return why the worker is not ready, in the order of registration."""
        reasons = [reason for part in (*self._not_alive, *self._not_ready) for reason in part()]
        self._metrics.ready.set(0 if reasons else 1)
        return reasons

    def not_alive(self) -> list[str]:
        """Return why the worker should be restarted."""
        return [reason for part in self._not_alive for reason in part()]
