"""The live items in step with the catalogue agent: restored before anything is folded, given up with the partitions.

States change in the agent's one task alone. A rebalance only notes which partitions are owned from then on; the next
batch, or the next sweep, forgets and restores.
"""

import time
from collections.abc import Callable, Collection
from typing import Final

from sidestream.streams.contracts.outgoing import Outgoing
from sidestream.streams.contracts.topics import TopicSpec
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.runtime.clock import Clock
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.tokenizing.live.items import LiveItems
from sidestream.streams.tokenizing.live.restore import restore_states

_log = get_log(__name__)

SWEEP_S: Final = 1.0


class LiveItemsService:
    """What the catalogue agent knows of live items.

    Args:
        items: Their states.
        states: `live-states.v1`.
        clients: The Kafka.
        clock: Judges which items are over.
        seconds: Monotonic clock in seconds.
    """

    def __init__(
        self,
        items: LiveItems,
        states: TopicSpec,
        clients: Clients,
        clock: Clock,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.items = items
        self._states, self._clients, self._clock, self._seconds = states, clients, clock, seconds
        self._owned: frozenset[int] = frozenset()
        self._is_stale = False
        self._next_sweep_s = 0.0

    @property
    def sources(self) -> tuple[str, ...]:
        """Topics that the agent reads for it."""
        return self.items.sources

    def assigned(self, partitions: Collection[int]) -> None:
        """Note a rebalance.

        Args:
            partitions: Of the topics keyed by item; none between revocation and assignment.
        """
        self._owned, self._is_stale = frozenset(partitions), True

    async def ready(self, partitions: Collection[int] = ()) -> None:
        """Restore what is owned and not here yet; called before a batch is folded.

        Args:
            partitions: Those that the batch is of.
        """
        if self._is_stale:
            self._is_stale = False
            self.items.forget()
        missing = (self._owned | frozenset(partitions)) - self.items.partitions
        if missing:
            found = await restore_states(self._clients, self._states.name, sorted(missing))
            self.items.adopt(found)
            _log.info("live items restored", partitions=sorted(missing), items=sum(map(len, found.values())))

    async def sweep(self) -> list[Outgoing]:
        """Let go of items that are over, once a second.

        Returns:
            What to send.
        """
        if self._seconds() < self._next_sweep_s:
            return []
        self._next_sweep_s = self._seconds() + SWEEP_S
        await self.ready()
        return self.items.sweep(self._clock())
