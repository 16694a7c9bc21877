"""Counters of the listen lane, on the worker's metrics."""

from sidestream.streams.runtime.metrics import Metrics


class LaneMetrics:
    """Counters of the listen lane; called on the event loop, must not block.

    Args:
        metrics: Metrics of the worker.
        topic: The lane's topic, for the dead letters.
    """

    def __init__(self, metrics: Metrics, topic: str) -> None:
        self._metrics = metrics
        self._topic = topic

    def folded(self, applied: int, repeats: int, late: int, stale: int) -> None:
        """Count listens by outcome of the fold.

        Args:
            applied: Folded into a state.
            repeats: Duplicates: event id seen before.
            late: Older than the tail of a full ring.
            stale: At or below the state's watermark: replays.
        """
        for outcome, count in (("applied", applied), ("repeat", repeats), ("late", late), ("stale", stale)):
            if count:
                self._metrics.listens.labels(outcome).inc(count)

    def bad(self, reason: str, topic: str | None = None) -> None:
        """Count one record sent to the dead letters.

        Args:
            reason: Reason code of `BadRecord`.
            topic: Source topic; None for the listens.
        """
        self._metrics.dead_letters.labels(topic or self._topic, reason).inc()

    def refused(self, listens: int) -> None:
        """Count listens from before their user's erasure."""
        self._metrics.listens.labels("erased").inc(listens)

    def erased(self, users: int) -> None:
        """Count users whose data was deleted by an erasure request."""
        self._metrics.erasures.labels("erased").inc(users)

    def forgotten(self, users: int) -> None:
        """Count erased users whose watermarks were removed as well."""
        self._metrics.erasures.labels("forgotten").inc(users)

    def expired(self, users: int) -> None:
        """Count users whose state was removed because they had not listened for `lane.state_ttl_days`."""
        self._metrics.expired_states.inc(users)

    def batch(self, seconds: float, records: int) -> None:
        """Count one batch of one partition.

        Args:
            seconds: From the start of its fold to the end of its write.
            records: Number of source records in it.
        """
        del records
        self._metrics.lane_batch_seconds.observe(seconds)

    def restored(self, records: int) -> None:
        """Count changelog records read to rebuild tables."""
        self._metrics.restored_records.inc(records)

    def rebuilt(self, reason: str) -> None:
        """Count one table that is rebuilt from the start of its changelog although a local one existed.

        Args:
            reason: damaged, or why its offset does not fit the changelog (ahead, behind, old).
        """
        self._metrics.rebuilt_tables.labels(reason).inc()

    def deleted_table(self) -> None:
        """Count one local table that was deleted because its partition has left this worker."""
        self._metrics.deleted_tables.inc()

    def stray(self, records: int) -> None:
        """Count records of a lane that Faust's own consumer fetched, which are dropped."""
        self._metrics.stray_records.inc(records)
