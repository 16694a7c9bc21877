"""Readers of a changelog: one for what is committed, one for the ends of what is not."""

import asyncio
import time
from collections.abc import Callable

from sidestream.streams.errors import BrokerError, LaneInterrupted
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.kafka.read_rules import Bounds, Place

# Fencing ends the transactions of the changelog's own writers; only another program's transaction may still be open.
# Shorter than the watchdog's limit, so that the message names what must be done.
STABLE_S = 20.0
STABLE_POLL_S = 0.02


class ChangelogReader:
    """All partitions of a changelog; each is begun by itself.

    Args:
        clients: Kafka client factory.
        topic: The changelog.
        partitions: Its partitions.
        seconds: Monotonic clock.

    Attributes:
        records: Reader of the committed records.
    """

    def __init__(
        self, clients: Clients, topic: str, partitions: range, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._topic, self._seconds = topic, seconds
        self.records = PartitionReader(clients, topic, partitions)
        # The embedded broker has no transaction isolation.
        embedded = clients.is_embedded
        self._uncommitted = None if embedded else PartitionReader(clients, topic, partitions, read_committed=False)

    async def open(self) -> None:
        """Connect.

        Raises:
            LaneInterrupted: Kafka does not answer.
        """
        try:
            await self.records.open()
            if self._uncommitted is not None:
                await self._uncommitted.open()
        except BrokerError as exc:
            await self.records.close()
            raise unreadable(self._topic, exc) from exc

    async def close(self) -> None:
        """Close the connections."""
        for reader in (self.records, self._uncommitted):
            if reader is not None:
                await reader.close()

    async def bounds(self, partition: int) -> Bounds:
        """Ask for the first offset and the end of a partition.

        Args:
            partition: Partition number.

        Returns:
            The offsets, up to the first open transaction.

        Raises:
            LaneInterrupted: The leader does not answer.
        """
        try:
            return await self.records.bounds(partition)
        except BrokerError as exc:
            raise unreadable(self._topic, exc) from exc

    async def stable_end(self, partition: int) -> int:
        """Ask for the end once all transactions before it have ended: last stable offset = high watermark.

        Args:
            partition: Partition number.

        Returns:
            The end.

        Raises:
            LaneInterrupted: The leader does not answer, or a transaction stays open.
        """
        if self._uncommitted is None:
            return (await self.bounds(partition)).end
        until_s, place = self._seconds() + STABLE_S, Place(self._topic, partition)
        high = await self._high(self._uncommitted, partition)
        while (end := (await self.bounds(partition)).end) < high:
            if self._seconds() > until_s:
                msg = (
                    f"changelog {place}: expected no open transaction, got one since offset {end} for "
                    f"{STABLE_S:.0f} s; its end is not written while the partition has no leader; if it stays, "
                    "another program writes there: find it with `kafka-transactions.sh find-hanging` and abort it"
                )
                raise LaneInterrupted(msg)
            await asyncio.sleep(STABLE_POLL_S)
            high = await self._high(self._uncommitted, partition)
        return end

    async def _high(self, reader: PartitionReader, partition: int) -> int:
        try:
            return (await reader.bounds(partition)).end
        except BrokerError as exc:
            raise unreadable(self._topic, exc) from exc


def unreadable(topic: str, exc: BaseException) -> LaneInterrupted:
    """Make the error of a changelog that cannot be read now."""
    return LaneInterrupted(f"changelog {topic}: cannot be read now ({exc}); check the broker")
