"""The listen lane's counters on the worker's metrics."""

from sidestream.streams.runtime.metrics import Metrics


class RegistryLaneMetrics:
    """`LaneMetrics` that shows on `/metrics`.

    Args:
        metrics: The worker's metrics.
        topic: The lane's topic, for the dead letters.
    """

    def __init__(self, metrics: Metrics, topic: str) -> None:
        self._metrics = metrics
        self._topic = topic

    def folded(self, applied: int, repeats: int, late: int, stale: int) -> None:
        """Count listens by what the fold did with them."""
        for outcome, count in (("applied", applied), ("repeat", repeats), ("late", late), ("stale", stale)):
            if count:
                self._metrics.listens.labels(outcome).inc(count)

    def bad(self, reason: str, topic: str | None = None) -> None:
        """Count one record that went to the dead letters."""
        self._metrics.dead_letters.labels(topic or self._topic, reason).inc()

    def refused(self, listens: int) -> None:
        """Count listens from before their user's erasure."""
        self._metrics.listens.labels("erased").inc(listens)

    def erased(self, users: int) -> None:
        """Count users whose data an erasure request took."""
        self._metrics.erasures.labels("erased").inc(users)

    def forgotten(self, users: int) -> None:
        """Count erased users whose watermarks went, too."""
        self._metrics.erasures.labels("forgotten").inc(users)

    def batch(self, seconds: float, records: int) -> None:
        """Time one batch of one partition."""
        del records
        self._metrics.lane_batch_seconds.observe(seconds)

    def restored(self, records: int) -> None:
        """Count changelog records that were read to rebuild tables."""
        self._metrics.restored_records.inc(records)

    def rebuilt(self, reason: str) -> None:
        """Count one table that is rebuilt from the start of its changelog, though there was a local one."""
        self._metrics.rebuilt_tables.labels(reason).inc()

    def stray(self, records: int) -> None:
        """Count records of a lane that Faust's own consumer fetched."""
        self._metrics.stray_records.inc(records)
