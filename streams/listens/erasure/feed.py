"""Reader of `user-erasures.v1` for the listen lane: same partitions as the listens, with its own positions.

Faust assigns the topic together with the others (equal partition counts: equal partitions), because a group's offsets
of topics that it does not subscribe to expire. The listen lane opens and closes the feed with its tables, and fetches
and applies the requests.
"""

from collections.abc import Collection, Mapping

from sidestream.streams.contracts.placement import Placement
from sidestream.streams.errors import BrokerError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.partition_reader import PartitionReader
from sidestream.streams.listens.erasure.removal import Removal
from sidestream.streams.listens.erasure.requests import Decode, Requests, read_requests
from sidestream.streams.listens.erasure.sweep import Sweep
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.logs.log import get_log
from sidestream.streams.runtime.progress import Work

_log = get_log(__name__)

# Bounds the growth of one batch.
MAX_REQUESTS = 500


class ErasureFeed:
    """`PartitionLane` of `user-erasures.v1`: it only reports the progress of the listen lane.

    Args:
        topic: The topic.
        clients: Kafka client factory.
        decode: Decodes a record, or raises `BadRecord`.
        sweep: Finds removable watermarks and idle users.
        placement: Recognises requests of other partitions; None takes all.

    Attributes:
        next_offsets: First offset that is not durably applied, by partition; empty before the first `open`.
    """

    def __init__(
        self, topic: str, clients: Clients, decode: Decode, sweep: Sweep, placement: Placement | None = None
    ) -> None:
        self.next_offsets: dict[int, int] = {}
        self._topic, self._clients, self._decode = topic, clients, decode
        self._sweep, self._placement = sweep, placement
        self._reader: PartitionReader | None = None
        # Read positions of the partitions that are read, and requests that are not applied.
        self._positions: dict[int, int] = {}
        self._in_flight: dict[int, int] = {}
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

    def held_tables(self) -> None:
        """Return None: the states are the listen lane's."""

    def work(self, ends: Mapping[int, int]) -> Work:
        """Return the pending requests, not read or not durable; `ends` are recent end offsets of the topic."""
        pending = sum(self.unread(ends).values()) + sum(self._in_flight.values())
        return Work(pending, (tuple(self._positions.items()), tuple(self.next_offsets.items())))

    def unread(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Count the requests that are not read, by partition; `ends` are recent end offsets of the topic."""
        return {p: max(0, ends.get(p, 0) - position) for p, position in self._positions.items()}

    async def open(self, partitions: Collection[int], *, commits: bool) -> None:
        """Connect for an assignment; nothing is read before `begin`.

        Args:
            partitions: All partitions of the assignment.
            commits: Whether Faust commits the offsets.

        Raises:
            BrokerError: Kafka does not answer.
        """
        self._commits, self.next_offsets = commits, {}
        reader = PartitionReader(self._clients, self._topic, partitions)
        await reader.open()
        self._reader = reader

    async def begin(self, partition: int, table: PartitionTable, committed: int | None) -> None:
        """Read the requests of a partition from now on, and sweep its table.

        Args:
            partition: Partition number.
            table: Its restored table.
            committed: The group's offset; None to read from the beginning.

        Raises:
            BrokerError: Kafka does not answer.
        """
        reader = self._opened()
        begin, end = await reader.bounds(partition)
        # Kafka deletes a group's offsets with their topic: a recreated one is read again completely, and requests are
        # idempotent.
        position = committed if committed is not None and begin <= committed <= end else begin
        if committed is not None and position != committed:
            _log.warning(
                "committed offset of erasures is not in the log, read from its beginning",
                topic=self._topic,
                partition=partition,
                committed=committed,
                begin=begin,
                end=end,
            )
        self.next_offsets[partition] = self._positions[partition] = position
        self._in_flight[partition] = 0
        reader.begin(partition, position)
        self._sweep.add(partition, table)

    def pause(self, partition: int) -> None:
        """Stop reading and sweeping a partition; `committable` stays as it is."""
        if self._reader is not None:
            self._reader.pause(partition)
        self._sweep.remove(partition)
        self._positions.pop(partition, None)
        self._in_flight.pop(partition, None)

    async def fetch(self, timeout_ms: int, partitions: Collection[int]) -> dict[int, Requests]:
        """Fetch the next requests.

        Args:
            timeout_ms: How long to wait if there are none.
            partitions: Partitions to take requests of.

        Returns:
            Requests by partition; partitions without requests are left out.

        Raises:
            BrokerError: Kafka refuses the request.
        """
        reader, fetched = self._opened(), dict[int, Requests]()
        found = await reader.fetch(timeout_ms, MAX_REQUESTS, partitions)
        for partition in found.lost:
            position = (await reader.bounds(partition)).begin
            _log.warning("erasures were deleted before they were read", partition=partition, position=position)
            reader.begin(partition, position)
        for partition, records in found.records.items():
            if partition in self._positions:  # otherwise it was paused in the meantime
                self._in_flight[partition] += len(records)
                fetched[partition] = read_requests(self._topic, records, self._decode, self._placement)
        for partition in list(self._positions):
            self._positions[partition] = await reader.position(partition)
        return fetched

    def mark_applied(self, partition: int, requests: Requests) -> None:
        """Note that requests are durably applied."""
        self.next_offsets[partition] = requests.next_offset
        if partition in self._in_flight:
            self._in_flight[partition] -= requests.num_records

    def start_rounds(self) -> None:
        """Start the rounds of the sweep that are due."""
        self._sweep.start_rounds()

    def has_page(self, partition: int) -> bool:
        """Return whether `sweep` has something to examine."""
        return self._sweep.has_page(partition)

    def sweep(self, partition: int, next_offset: int, position: int) -> list[Removal]:
        """Return the removals of one page of a table at most, see `Sweep.step`."""
        return self._sweep.step(partition, next_offset, position)

    async def close(self) -> None:
        """Stop reading and sweeping; `committable` stays as it is."""
        await self._sweep.close()
        reader, self._reader = self._reader, None
        for partition in list(self._positions):
            self.pause(partition)
        if reader is not None:
            await reader.close()

    def _opened(self) -> PartitionReader:
        if self._reader is None:
            msg = f"{self._topic}: expected an open reader, got a closed one"
            raise BrokerError(msg)
        return self._reader
