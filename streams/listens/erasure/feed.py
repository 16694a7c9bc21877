"""Reads `user-erasures.v1` beside the listens: same partitions, a position of its own, applied by the listen lane.

Faust assigns the topic with the others (equal partition counts: equal partitions), because a group's offsets of topics
that it does not subscribe to expire. The listen lane opens and closes the feed with its tables and takes what has come.
"""

from collections.abc import Collection, Mapping

from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.spans import Place
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.listens.erasure.requests import Decode, Requests, read_requests
from sidestream.streams.listens.erasure.sweep import Sweep
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.lane_protocol import LaneHost
from sidestream.streams.runtime.progress import IDLE, Reading, Work

# Bounds what one batch may grow by.
MAX_REQUESTS = 500


class ErasureFeed:
    """`PartitionLane` of `user-erasures.v1`: it only says how far the listen lane has come.

    Args:
        topic: The topic.
        clients: Factory of Kafka clients.
        decode: Reads a record, or raises `BadRecord`.
        sweep: Finds the watermarks that may go.

    Attributes:
        next_offsets: By partition, the first offset that is not durably applied; empty before the first `open`.
    """

    def __init__(self, topic: str, clients: Clients, decode: Decode, sweep: Sweep) -> None:
        self.next_offsets: dict[int, int] = {}
        self._topic, self._clients, self._decode = topic, clients, decode
        self._sweep = sweep
        self._follower: Follower | None = None
        self._reading = Reading()
        self._commits = False

    @property
    def topic(self) -> str:
        """Topic of the requests."""
        return self._topic

    async def assigned(self, partitions: Collection[int]) -> None:
        """Do nothing: the listen lane opens the feed once its tables are restored.

        Args:
            partitions: All partitions that this worker now owns; those of the listens.
        """

    async def revoked(self, partitions: Collection[int]) -> None:
        """Do nothing: the listen lane closes the feed when its last batch is done.

        Args:
            partitions: All partitions that this worker owned.
        """

    def committable(self) -> Mapping[int, int]:
        """Next offset by partition; empty where the offsets are part of the lane's transactions."""
        return dict(self.next_offsets) if self._commits else {}

    def work(self, ends: Mapping[int, int]) -> Work:
        """Tell what waits: requests not read or not durable; `ends` of the topic as Kafka told lately."""
        if self._follower is None:
            return IDLE
        return self._reading.work(ends, tuple(self.next_offsets.items()))

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count what is not read, by partition; `ends` of the topic as Kafka told lately."""
        return {} if self._follower is None else self._reading.unread(ends)

    async def open(self, host: LaneHost, tables: Mapping[int, PartitionTable], *, commits: bool) -> None:
        """Begin to read and to sweep.

        Args:
            host: Knows the group's offsets; of partitions where it never committed all is read.
            tables: Restored tables by partition.
            commits: Whether Faust is to commit the offsets.
        """
        self._commits, self._reading = commits, Reading()
        committed = await host.committed(self._topic, list(tables))
        start = {Place(self._topic, p): offset for p, offset in committed.items() if offset is not None}
        # Of a recreated topic all is read again: what was applied stays applied, and comes to nothing again.
        follower = Follower(self._clients, {self._topic: tables}, start=start)
        await follower.open()
        self._follower = follower
        self.next_offsets = _by_partition(follower)
        self._sweep.begin(tables)

    async def take(self) -> dict[int, Requests]:
        """Take what has come, without waiting for more.

        Returns:
            Requests by partition; partitions without are left out.
        """
        follower = self._follower
        if follower is None:
            return {}
        batches = await follower.poll(0, MAX_REQUESTS)
        fetched = {batch.place.partition: batch.records for batch in batches}
        self._reading.in_flight = sum(map(len, fetched.values()))
        self._reading.positions = _by_partition(follower)
        return {partition: read_requests(self._topic, records, self._decode) for partition, records in fetched.items()}

    def done(self, applied: Mapping[int, Requests]) -> None:
        """Note that requests are durably applied.

        Args:
            applied: By partition.
        """
        for partition, requests in applied.items():
            self.next_offsets[partition] = requests.next_offset
        self._reading.in_flight = 0

    def sweep(self, next_offsets: Mapping[int, int], positions: Mapping[int, int]) -> list[FoldedBatch]:
        """Find watermarks that may go, a page of the tables at most.

        Args:
            next_offsets: Next offsets of the listens by partition.
            positions: Up to where listens were read and folded, by partition.

        Returns:
            What goes, to be made durable one after the other.
        """
        return self._sweep.step(next_offsets, positions)

    async def close(self) -> None:
        """Stop reading and sweeping; `committable` stays as it is."""
        await self._sweep.close()
        follower, self._follower = self._follower, None
        if follower is not None:
            await follower.close()


def _by_partition(follower: Follower) -> dict[int, int]:
    return {place.partition: position for place, position in follower.positions.items()}
