"""Follower of topics that lasts over restarts of brokers: it goes on where it was, with a new client if necessary."""

from collections.abc import Collection, Mapping
from typing import Any

from sidestream.streams.errors import AccessError, BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.read_errors import require_alive
from sidestream.streams.kafka.read_rules import Batch

# Without progress towards its target ends for so long, a new client is made: shorter than the watchdog's limit.
STUCK_S = 10.0
# A caller that polls rarely sees no progress in between.
_STUCK_POLLS = 5


class LastingFollower(Follower):
    """`Follower` whose `open` and `poll` do not fail because of a broker that is away.

    Missing topics and missing rights stay errors. Before the target ends are reached, no progress is an outage too: a
    partition without a leader looks like one without records.

    Args:
        clients: Kafka client factory.
        partitions: Partition numbers by topic.
        part: Part of the worker that it reads for, named in messages.
        **options: As of `Follower`.
    """

    def __init__(self, clients: Clients, partitions: Mapping[str, Collection[int]], part: str, **options: Any) -> None:
        super().__init__(clients, partitions, **options)
        self._outage = clients.outages.of(part)
        self._is_wanted = False
        self._is_stuck = False
        self._behind, self._moved_s, self._idle_polls = -1, 0.0, 0

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for Kafka."""
        return self._outage.is_on

    async def open(self) -> None:
        """Connect, and wait while Kafka is away; opened again, it goes on at its positions.

        Raises:
            TopicError: A topic or partition does not exist.
            AccessError: Kafka refuses our credentials, or rights are missing.
        """
        self._is_wanted = True
        while self._is_wanted:
            try:
                await super().open()
            except AccessError:
                raise
            except BrokerError as error:
                await self._outage.wait(error)
            else:
                if not self._is_stuck:
                    self._outage.end()
                break
        self._behind = -1
        if not self._is_wanted:
            await super().close()  # closed meanwhile

    async def close(self) -> None:
        """Close the connection; `positions` keeps its last values."""
        self._is_wanted = False
        self._outage.end()
        await super().close()

    async def poll(self, timeout_ms: int, max_records: int | None = None) -> list[Batch]:
        """Fetch the next records; nothing while Kafka is away.

        Args:
            timeout_ms: How long to wait if there are none.
            max_records: Limit over all partitions; None for everything that was fetched.

        Returns:
            Batches, possibly empty; `positions` are the offsets after them.

        Raises:
            TopicError: The topic does not exist any more, or it was truncated and this reader does not restart.
            AccessError: Rights are missing.
        """
        if not self._is_wanted:
            return []
        if not self.is_open:
            await self.open()
            return []
        consumer = self._opened()
        try:
            require_alive(consumer)
            self._require_progress()
            batches = await super().poll(timeout_ms, max_records)
        except AccessError:
            raise
        except BrokerError as error:
            await self._outage.wait(error)
            if self._consumer is consumer:
                await super().close()  # the next poll opens a new client
            return []
        if not self._is_stuck:
            self._outage.end()
        return batches

    def _require_progress(self) -> None:
        """Raise if the target ends do not come nearer."""
        behind, now_s = self.behind, self._seconds()
        if not behind or behind != self._behind:
            is_new_client = self._behind == -1
            self._is_stuck = self._is_stuck and is_new_client and behind > 0
            self._behind, self._moved_s, self._idle_polls = behind, now_s, 0
            return
        self._idle_polls += 1
        if now_s - self._moved_s >= STUCK_S and self._idle_polls >= _STUCK_POLLS:
            self._is_stuck = True
            msg = f"{behind} records of {', '.join(self._topics)} cannot be read"
            raise BrokerError(msg)
