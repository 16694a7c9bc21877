"""How long this process stood still: one that was paused past its session may own its partitions no more."""

from collections.abc import Callable

from sidestream.streams.errors import LaneError

# Of the session timeout: the rest is for the record that is then on its way.
_SHARE = 0.8


class Silence:
    """Time since a part of this process last ran.

    Args:
        topic: Whose partitions are at stake; named in the error.
        session_timeout_ms: After this long the group gives them away; none where the broker itself refuses what a
            replaced process writes.
        seconds: Monotonic clock in seconds.
    """

    def __init__(self, topic: str, session_timeout_ms: int | None, seconds: Callable[[], float]) -> None:
        self._topic = topic
        self._limit_s = None if session_timeout_ms is None else _SHARE * session_timeout_ms / 1e3
        self._seconds = seconds
        self._at_s = seconds()

    def note(self) -> None:
        """Note that it runs now."""
        self._at_s = self._seconds()

    def check(self) -> None:
        """Refuse to go on after a pause that was too long.

        Raises:
            LaneError: It was.
        """
        silent_s = self._seconds() - self._at_s
        if self._limit_s is not None and silent_s > self._limit_s:
            msg = (
                f"{self._topic}: this process stood still for {silent_s:.1f} s, more than "
                f"{self._limit_s:.1f} s: the group may have given its partitions away; it must restart"
            )
            raise LaneError(msg)

    def end(self) -> None:
        """Check, then note.

        Raises:
            LaneError: The pause was too long.
        """
        self.check()
        self.note()
