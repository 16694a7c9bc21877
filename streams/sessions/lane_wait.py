"""Waits, within a bound, until the listens that were in the log before a session-start are folded.

Off by default: the state that answers is then as old as the listen lane's batch, 0.1 s or so without a backlog. When
the bound passes, the session-start is answered with what is folded, and the answer says how many were missing.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Hashable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.pacing import Pacer


class LaneWait:
    """`session.wait_for_lane_ms` at work.

    Args:
        topic: `listen-events.v1`.
        folded_to: By partition, the first listen that is not folded; none where the partition is not open here.
        bound_ms: Longest wait, from the fetch of the session-start; 0 for none at all.
        pacer: Tells of folded listens; a session-start that waits for them must not hold them up.
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

    async def ends(self, consumer: AIOKafkaConsumer, partitions: Collection[int]) -> Mapping[int, int]:
        """Ask how far the listens reach now; one request for all session-starts of a fetch.

        Args:
            consumer: Any started one.
            partitions: Of the session-starts.

        Returns:
            Ends by partition; empty where nobody waits, or Kafka does not say in time.
        """
        if not self._bound_s or not partitions:
            return {}
        try:
            async with asyncio.timeout(self._bound_s):
                ends = await consumer.end_offsets([TopicPartition(self._topic, partition) for partition in partitions])
        except (KafkaError, TimeoutError):
            self._metrics.lane_waits.labels("unknown").inc(len(partitions))
            return {}
        return {partition.partition: end for partition, end in ends.items()}

    async def missing(self, session: Hashable, partition: int, end: int | None, fetched_s: float) -> int | None:
        """Wait for the listens of a partition.

        Args:
            session: Names the session-start that waits, as the pacer knows it.
            partition: The listener's.
            end: The first listen that need not be folded; none waits for nothing.
            fetched_s: When the session-start was fetched, by the monotonic clock.

        Returns:
            How many were not folded when the bound passed; none where all were, or nobody waited.
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
