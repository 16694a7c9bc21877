"""Read replica of the user states: local tables kept current from the changelog, outside the workers' group.

It serves readers that need states of any user in their own process, such as an HTTP service. It never writes to Kafka
and takes no partitions from workers. It returns what is durable: a worker's own answers may be some 0.1 s newer.
"""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from rocksdict import DbClosedError

from sidestream.models.history.layout import decode
from sidestream.streams.contracts.topics import Topics
from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.listens.restore.restorer import Restorer
from sidestream.streams.listens.restore.source_check import SourceCheck
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.standbys import Standbys
from sidestream.streams.listens.table.meta import TableIdentity
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.runtime.waiting import run_in_thread

POLL_S = 0.05


class StateRead(NamedTuple):
    """A user's state as of one moment.

    Attributes:
        value: The state; None for an unknown user.
        watermark: Source offset of the last listen in it; None without a state.
        lag_ms: How long ago the partition was last seen complete; 0 while it is, None if it never was.
    """

    value: bytes | None
    watermark: int | None
    lag_ms: int | None


class ReadReplica:
    """Keeps copies of partitions of the user states; use it as an async context manager.

    Args:
        clients: Kafka client factory.
        topics: Topics of the installation.
        folder: Folder of the tables; of this process alone.
        settings: Sizes of the tables and of bulk writes.
        partitions: Partitions to keep; None for all.
        metrics: Counts restored records.
    """

    def __init__(
        self,
        clients: Clients,
        topics: Topics,
        folder: Path,
        settings: LaneSettings,
        partitions: Collection[int] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._listens = topics.listens
        self.partitions = frozenset(range(topics.listens.partitions) if partitions is None else partitions)
        listens = topics.listens
        identity = TableIdentity(
            listens.name, topics.user_state_changelog.name, listens.partitions, listens.partitioner
        )
        lane_metrics = LaneMetrics(metrics or Metrics(), topics.listens.name)
        self._tables = UserTable(folder, identity, settings.table)
        restorer = Restorer(identity, clients, settings.restore_batch_records, lane_metrics)
        self._standbys = Standbys(self._tables, restorer, SourceCheck(identity, clients))

    async def __aenter__(self) -> "ReadReplica":
        self._standbys.keep(self.partitions, frozenset())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._standbys.close()
        await run_in_thread(self._tables.close)

    async def wait_current(self, timeout_s: float) -> None:
        """Wait until all partitions have been seen complete once.

        Args:
            timeout_s: Limit.

        Raises:
            TimeoutError: Some partition is not complete by then.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self._incomplete():  # noqa: ASYNC110 - a rare, short wait
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            msg = f"expected complete partitions within {timeout_s:g} s, got none yet of {self._incomplete()}"
            raise TimeoutError("; ".join([msg, *(f"{p}: {why}" for p, why in self.troubles.items())])) from None

    @property
    def troubles(self) -> Mapping[int, str]:
        """Why partitions are not current, by partition."""
        return self._standbys.troubles

    def _incomplete(self) -> list[int]:
        return [partition for partition, (_, lag_ms) in self.lags().items() if lag_ms is None]

    def lags(self) -> Mapping[int, tuple[int | None, int | None]]:
        """Return how far each partition is behind: offsets, and ms since it was last complete; None if unknown."""
        return self._standbys.lags()

    def read(self, user_id: str) -> StateRead:
        """Read a user's state.

        Args:
            user_id: Listener.

        Returns:
            The state, with its age.

        Raises:
            LaneError: The user's partition is not kept here, or its table is not open now.
        """
        key = user_id.encode()
        partition = self._listens.partition_of(key)
        if partition not in self.partitions:
            msg = f"user {user_id!r}: expected a user of partitions {sorted(self.partitions)}, got one of {partition}"
            raise LaneError(msg)
        try:
            table = self._tables.get(partition)
            value = None if table is None else table.get(key)
        except DbClosedError:  # it is opened again, or rebuilt
            table = value = None
        if table is None:
            why = self.troubles.get(partition, "wait for `wait_current`")
            msg = f"partition {partition}: its table is not open now; {why}"
            raise LaneError(msg)
        watermark = None if value is None else decode(value).watermark
        return StateRead(value, watermark, self.lags()[partition][1])
