"""Which session-starts are too old to be answered, and the count and log of those that are skipped.

The age is the record's Kafka timestamp against the wall clock. A producer whose clock is behind by more than the limit
therefore never gets an answer: nothing here can tell its session-starts from old ones, so the log names the cause.
"""

import time
from collections.abc import Callable

from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.metrics import Metrics

_log = get_log(__name__)

# What is skipped within the first time is one line, and then at most one line is written each second time.
FIRST_LINE_S, NEXT_LINE_S = 1.0, 10.0
_CAUSE = (
    "their Kafka timestamps are older than session.max_age_ms, as after an outage; if they were published just now, "
    "their producer's clock is behind: correct it, or set session.max_age_ms = 0 to answer all"
)


class MaxAge:
    """Implements `session.max_age_ms`.

    Args:
        topic: `session-starts.v1`.
        max_age_ms: Highest age that is answered; 0 for no limit.
        wall_ms: UTC epoch milliseconds.
        metrics: Counts what is skipped.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        topic: str,
        max_age_ms: int,
        wall_ms: Callable[[], int],
        metrics: Metrics,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic, self._max_age_ms, self._wall_ms, self._seconds = topic, max_age_ms, wall_ms, seconds
        self._counter = metrics.sessions_skipped.labels("stale")
        self._num_untold, self._partitions = 0, set[int]()
        self._newest_ms: int | None = None
        self._line_at_s = 0.0

    @property
    def since_ms(self) -> int | None:
        """Kafka timestamp from which on session-starts are answered now, as are those without one; None if all are."""
        return max(0, self._wall_ms() - self._max_age_ms) if self._max_age_ms else None

    def is_stale(self, timestamp_ms: int) -> bool:
        """Return whether a record is too old; one without a timestamp (negative) is not."""
        return 0 <= timestamp_ms < (self.since_ms or 0)

    def skipped(self, partition: int, count: int, timestamp_ms: int | None = None) -> None:
        """Count what is skipped for its age.

        Args:
            partition: Partition number.
            count: Number of session-starts.
            timestamp_ms: Kafka timestamp of the last one; None if not known.
        """
        self._counter.inc(count)
        if not self._num_untold:
            self._line_at_s = max(self._line_at_s, self._seconds() + FIRST_LINE_S)
        self._num_untold += count
        self._partitions.add(partition)
        if timestamp_ms is not None:
            self._newest_ms = max(timestamp_ms, self._newest_ms or 0)

    def tell(self, *, at_once: bool = False) -> None:
        """Log what was skipped since the last line, if one is due.

        Args:
            at_once: Whether to not wait until it is due.
        """
        if not self._num_untold or not (at_once or self._seconds() >= self._line_at_s):
            return
        newest_ms = self._newest_ms
        age = {} if newest_ms is None else {"newest_age_s": round((self._wall_ms() - newest_ms) / 1e3, 1)}
        _log.warning(
            "session-starts skipped",
            topic=self._topic,
            partitions=len(self._partitions),
            skipped=self._num_untold,
            reason="stale",
            setting=f"session.max_age_ms = {self._max_age_ms}",
            **age,
            cause=_CAUSE,
        )
        self._num_untold, self._newest_ms = 0, None
        self._partitions.clear()
        self._line_at_s = self._seconds() + NEXT_LINE_S
