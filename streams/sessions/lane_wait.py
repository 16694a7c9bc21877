"""Bounded wait until the listens that were in the log before a session-start are folded.

Off by default: the state used for the answer is then as old as the listen lane's batch, about 0.1 s without a backlog.
When the limit passes, the session-start is answered with the folded listens, and the answer says how many were missing.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Hashable, Mapping

from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer


class LaneWait:
    """Implements `session.wait_for_lane_ms`.

    Args:
        topic: `listen-events.v1`.
        folded_to: Offset of the first listen of a partition that is not folded; None if the partition is not open here.
        bound_ms: Longest wait, from the fetch of the session-start; 0 to never wait.
        pacer: Signals folded listens; a session-start that waits for them must not pause them.
        metrics: Counts the waits.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        topic: str,
        folded_to: Callable[[int], int | None],
        bound_ms: int,
        pacer: Pacer,
        metrics: Metrics,
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._topic = topic
        self._folded_to = folded_to
        self._bound_s = bound_ms / 1e3
        self._pacer = pacer
        self._metrics = metrics
        self._seconds = seconds

    async def ends(self, reader: PartitionReader, partitions: Collection[int]) -> Mapping[int, int]:
        """Fetch the current ends of the listens, with one request for all session-starts of a fetch.

        Args:
            reader: Any open reader.
            partitions: Partitions of the session-starts.

        Returns:
            Ends by partition; empty if waiting is off, or Kafka does not answer in time.
        """
        if not self._bound_s or not partitions:
            return {}
        try:
            async with asyncio.timeout(self._bound_s):
                return await reader.ends_of(self._topic, partitions)
        except (BrokerError, TimeoutError):
            self._metrics.lane_waits.labels("unknown").inc(len(partitions))
            return {}

    async def missing(self, session: Hashable, partition: int, end: int | None, fetched_s: float) -> int | None:
        """Wait for the listens of a partition.

        Args:
            session: The pacer's key of the waiting session-start.
            partition: The listener's partition.
            end: Offset of the first listen that need not be folded; None to not wait.
            fetched_s: When the session-start was fetched, by the monotonic clock.

        Returns:
            Number of listens not folded when the limit passed; None if all were folded, or there was no wait.
        """
        if end is None or not self._bound_s:
            return None
        self._pacer.session_ends(session)
        try:
            until_s = fetched_s + self._bound_s
            while (lag := self._lag(partition, end)) and (left_s := until_s - self._seconds()) > 0.0:
                await self._pacer.wait_folded(left_s)
        finally:
            self._pacer.session_begins(session)
        self._metrics.lane_waits.labels("late" if lag else "folded").inc()
        return lag or None

    def _lag(self, partition: int, end: int) -> int:
        folded_to = self._folded_to(partition)
        return 0 if folded_to is None else max(0, end - folded_to)
