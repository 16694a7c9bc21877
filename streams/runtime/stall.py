"""Detection of a process pause so long that the group may have given the partitions to another process."""

from collections.abc import Callable

from sidestream.streams.errors import LaneError

# Of the session timeout: the rest is left for the record in flight.
_SHARE = 0.8


class StallGuard:
    """Measures the time since a part of this process last ran.

    Args:
        topic: Topic of the partitions; named in the error.
        session_timeout_ms: After this long without a heartbeat the group reassigns the partitions.
        seconds: Monotonic clock in seconds.
    """

    def __init__(self, topic: str, session_timeout_ms: int, seconds: Callable[[], float]) -> None:
        self._topic = topic
        self._limit_s = _SHARE * session_timeout_ms / 1e3
        self._seconds = seconds
        self._ran_at_s = seconds()

    def ran(self) -> None:
        """Note that the part is running now."""
        self._ran_at_s = self._seconds()

    def check(self) -> None:
        """Raise after a pause that was too long.

        Raises:
            LaneError: The pause was too long.
        """
        paused_s = self._seconds() - self._ran_at_s
        if paused_s > self._limit_s:
            msg = (
                f"{self._topic}: this process was paused for {paused_s:.1f} s, more than "
                f"{self._limit_s:.1f} s: the group may have reassigned its partitions; it must restart"
            )
            raise LaneError(msg)

    def resume(self) -> None:
        """Check, then note that the part is running now.

        Raises:
            LaneError: The pause was too long.
        """
        self.check()
        self.ran()
