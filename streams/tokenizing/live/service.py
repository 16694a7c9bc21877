"""Restores and sweeps the live items of the partitions that the catalogue agent owns.

States change only while the agent's write lock is held. A rebalance merely records which partitions are owned from then
on; the next batch or sweep drops the old states and restores the new ones.
"""

from collections.abc import Collection
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
    """The live items of the catalogue agent.

    Args:
        items: Their states.
        states: `live-states.v1`.
        clients: Kafka clients.
        clock: Decides which items have expired.

    Attributes:
        restored: Partitions whose states are held. Empty from a rebalance until the next `restore`.
    """

    def __init__(self, items: LiveItems, states: TopicSpec, clients: Clients, clock: Clock) -> None:
        self.items = items
        self._states, self._clients, self._clock = states, clients, clock
        self._owned: frozenset[int] = frozenset()
        self._is_stale = False
        self.restored: frozenset[int] = frozenset()

    @property
    def sources(self) -> tuple[str, ...]:
        """Topics that the agent reads for the live items."""
        return self.items.sources

    def on_assigned(self, partitions: Collection[int]) -> None:
        """Record a rebalance.

        Args:
            partitions: Owned partitions of the topics keyed by item; none between revocation and assignment.
        """
        self._owned, self._is_stale, self.restored = frozenset(partitions), True, frozenset()

    async def restore(self, partitions: Collection[int] = ()) -> None:
        """Restore the owned partitions that are not held yet; called before a batch of theirs is applied.

        Args:
            partitions: Those of the batch.
        """
        if self._is_stale:
            self._is_stale = False
            self.items.clear()
        missing = (self._owned | frozenset(partitions)) - self.items.states.keys()
        if missing:
            found = await restore_states(self._clients, self._states.name, sorted(missing))
            self.items.add_restored(found)
            _log.info("live items restored", partitions=sorted(missing), items=sum(map(len, found.values())))
        if not self._is_stale:
            self.restored = frozenset(self.items.states)

    async def sweep(self) -> list[Outgoing]:
        """End the items that have expired; the owned partitions must be restored.

        Returns:
            The records to send.
        """
        return self.items.sweep(self._clock())
