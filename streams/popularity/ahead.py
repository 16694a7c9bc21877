"""Listens that are dated far ahead: they are folded, but not counted.

Weights grow with time (forward decay), so the count of one listen of the year 2099 is beyond the range of a double
beside those of today, which become zero. Such listens come from producers whose clock is wrong, where the broker does
not refuse them (`message.timestamp.after.max.ms`), and from producers that set no Kafka timestamp.
"""

import time
from collections.abc import Callable

from sidestream.streams.runtime.clock import WallClock
from sidestream.streams.runtime.logs.log import get_log

_log = get_log(__name__)
_WALL = WallClock()

# How far the clock of a producer may be ahead: what brokers accept by default since Kafka 4.0.
PRODUCER_AHEAD_MS = 3_600_000
WARN_EVERY_S = 60.0


def latest_at(clock_ms: int, max_future_ms: int) -> int:
    """Return until when listens are counted.

    Args:
        clock_ms: Clock of who counts, UTC epoch ms.
        max_future_ms: `topics.max_future_ms`.

    Returns:
        Time of the latest listen that is counted, UTC epoch ms.
    """
    return clock_ms + max_future_ms + PRODUCER_AHEAD_MS


class AheadGuard:
    """Bound of the listens that a worker counts; tells what it leaves out.

    Args:
        max_future_ms: `topics.max_future_ms`.
        on_ahead: Called with a number of listens that are left out.
        wall_ms: UTC epoch milliseconds.
        seconds: Monotonic clock in seconds, for the rate of warnings.
    """

    def __init__(
        self,
        max_future_ms: int,
        on_ahead: Callable[[int], None] = lambda count: None,
        wall_ms: Callable[[], int] = _WALL,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_future_ms, self._on_ahead, self._wall_ms, self._seconds = max_future_ms, on_ahead, wall_ms, seconds
        self._warned_s: float | None = None
        self._untold = 0

    def latest_at(self) -> int:
        """Return the time of the latest listen that is counted now, UTC epoch ms."""
        return latest_at(self._wall_ms(), self._max_future_ms)

    def left_out(self, count: int, newest_at: int) -> None:
        """Count listens that are not counted for their items, and log them, at most once a minute.

        Args:
            count: Number of listens.
            newest_at: Time of the latest one, UTC epoch ms.
        """
        self._on_ahead(count)
        self._untold += count
        now_s = self._seconds()
        if self._warned_s is None or now_s - self._warned_s >= WARN_EVERY_S:
            _log.warning(
                "listens that are dated ahead do not count for popularity: correct the clock of their producer, or of "
                "this worker",
                listens=self._untold,
                newest_at=newest_at,
                clock=self._wall_ms(),
            )
            self._warned_s, self._untold = now_s, 0
