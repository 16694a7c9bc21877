"""Whether this process was paused for so long that the group may have given its partitions to another one."""

from collections.abc import Callable

from sidestream.streams.errors import LaneError

# Of the session timeout: the rest is for the record that is then in flight.
_SHARE = 0.8


class StallGuard:
    """Time since a part of this process last ran.

    Args:
        topic: Whose partitions are at stake; named in the error.
        session_timeout_ms: After this long without a heartbeat the group gives them to another process.
        seconds: Monotonic clock in seconds.
    """

    def __init__(self, topic: str, session_timeout_ms: int, seconds: Callable[[], float]) -> None:
        self._topic = topic
        self._limit_s = _SHARE * session_timeout_ms / 1e3
        self._seconds = seconds
        self._ran_at_s = seconds()

    def ran(self) -> None:
        """Note that it runs now."""
        self._ran_at_s = self._seconds()

    def check(self) -> None:
        """Refuse to go on after a pause that was too long.

        Raises:
            LaneError: It was.
        """
        paused_s = self._seconds() - self._ran_at_s
        if paused_s > self._limit_s:
            msg = (
                f"{self._topic}: this process stood still for {paused_s:.1f} s, more than "
                f"{self._limit_s:.1f} s: the group may have given its partitions away; it must restart"
            )
            raise LaneError(msg)

    def resume(self) -> None:
        """Check, then note that it runs now.

        Raises:
            LaneError: The pause was too long.
        """
        self.check()
        self.ran()
