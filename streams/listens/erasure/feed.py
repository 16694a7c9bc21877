"""Reader of `user-erasures.v1` for the listen lane: same partitions as the listens, with its own positions.

Faust assigns the topic together with the others (equal partition counts: equal partitions), because a group's offsets
of topics that it does not subscribe to expire. The listen lane opens and closes the feed with its tables, and fetches
and applies the requests.
"""

from collections.abc import Collection, Mapping

from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.follower import Follower
from sidestream.streams.kafka.read_rules import Place
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.listens.erasure.requests import Decode, Requests, read_requests
from sidestream.streams.listens.erasure.sweep import Sweep
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.lane_protocol import LaneHost
from sidestream.streams.runtime.progress import IDLE, ReadProgress, Work

# Bounds the growth of one batch.
MAX_REQUESTS = 500


class ErasureFeed:
    """`PartitionLane` of `user-erasures.v1`: it only reports the progress of the listen lane.

    Args:
        topic: The topic.
        clients: Kafka client factory.
        decode: Decodes a record, or raises `BadRecord`.
        sweep: Finds removable watermarks.

    Attributes:
        next_offsets: First offset that is not durably applied, by partition; empty before the first `open`.
    """

    def __init__(self, topic: str, clients: Clients, decode: Decode, sweep: Sweep) -> None:
        self.next_offsets: dict[int, int] = {}
        self._topic, self._clients, self._decode = topic, clients, decode
        self._sweep = sweep
        self._follower: Follower | None = None
        self._reading = ReadProgress()
        self._commits = False

    @property
    def topic(self) -> str:
        """Topic of the requests."""
        return self._topic

    async def on_assigned(self, partitions: Collection[int]) -> None:
        """Do nothing: the listen lane opens the feed once its tables are restored."""

    async def on_revoked(self, partitions: Collection[int]) -> None:
        """Do nothing: the listen lane closes the feed when its last batch is done."""

    def committable(self) -> Mapping[int, int]:
        """Next offset by partition; empty if the offsets are part of the lane's transactions."""
        return dict(self.next_offsets) if self._commits else {}

    def work(self, ends: Mapping[int, int]) -> Work:
        """Return the pending requests, not read or not durable; `ends` are recent end offsets of the topic."""
        if self._follower is None:
            return IDLE
        return self._reading.work(ends, tuple(self.next_offsets.items()))

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count the requests that are not read, by partition; `ends` are recent end offsets of the topic."""
        return {} if self._follower is None else self._reading.unread(ends)

    async def open(self, host: LaneHost, tables: Mapping[int, PartitionTable], *, commits: bool) -> None:
        """Start reading and sweeping.

        Args:
            host: Source of the group's offsets; partitions without one are read from their beginning.
            tables: Restored tables by partition.
            commits: Whether Faust commits the offsets.
        """
        self._commits, self._reading = commits, ReadProgress()
        committed = await host.committed(self._topic, list(tables))
        start = {Place(self._topic, p): offset for p, offset in committed.items() if offset is not None}
        # Kafka deletes a group's offsets with their topic: a recreated one is read again completely, and requests are
        # idempotent. One that is recreated later is noticed only while it ends before the position (`read_rules`).
        follower = Follower(self._clients, {self._topic: tables}, start=start)
        await follower.open()
        self._follower = follower
        self.next_offsets = _by_partition(follower)
        self._sweep.begin(tables)

    async def fetch(self) -> dict[int, Requests]:
        """Fetch the requests that are available now, by partition; partitions without requests are left out."""
        follower = self._follower
        if follower is None:
            return {}
        batches = await follower.poll(0, MAX_REQUESTS)
        fetched = {batch.place.partition: batch.records for batch in batches}
        self._reading.in_flight = sum(map(len, fetched.values()))
        self._reading.positions = _by_partition(follower)
        return {partition: read_requests(self._topic, records, self._decode) for partition, records in fetched.items()}

    def mark_applied(self, applied: Mapping[int, Requests]) -> None:
        """Note that requests are durably applied."""
        for partition, requests in applied.items():
            self.next_offsets[partition] = requests.next_offset
        self._reading.in_flight = 0

    def sweep(self, next_offsets: Mapping[int, int], positions: Mapping[int, int]) -> list[FoldedBatch]:
        """Return the removals of one page of the tables at most, see `Sweep.step`."""
        return self._sweep.step(next_offsets, positions)

    async def close(self) -> None:
        """Stop reading and sweeping; `committable` stays as it is."""
        await self._sweep.close()
        follower, self._follower = self._follower, None
        if follower is not None:
            await follower.close()


def _by_partition(follower: Follower) -> dict[int, int]:
    return {place.partition: position for place, position in follower.positions.items()}
