"""Access to the states of one group in Kafka and on this disk, for commands that need its workers to be stopped."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import TopicPartition as Place
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from sidestream.streams.contracts.topics import Topics, TopicState
from sidestream.streams.errors import BrokerError, LaneError, SettingsError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.read_rules import keep_last
from sidestream.streams.kafka.reading import fetch_bounds, read_to_end
from sidestream.streams.listens.durable.guarantee import make_writer
from sidestream.streams.listens.durable.writer import ChangelogWriter, FoldedBatch
from sidestream.streams.listens.restore.origin import describe_topics, is_reserved
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.listens.table.meta import META_KEY, Positions, TableIdentity, TableTopics
from sidestream.streams.listens.table.users import UserTable
from sidestream.streams.runtime.pacing import Pacer
from sidestream.streams.runtime.waiting import run_concurrently

_IDLE = ("Empty", "Dead")
# A broker that has just started needs some time to load its groups.
_COORDINATOR_S = 20.0
_RETRY_S = 0.2
CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class LocalTable:
    """A local database: its folder, its values of users, its positions, and the topics that they belong to."""

    path: Path
    values: dict[bytes, bytes]
    positions: Positions
    topics: TableTopics


@dataclass(frozen=True, slots=True)
class OfflineStates:
    """The states of a group.

    Attributes:
        clients: Kafka clients.
        topics: Topics of the installation.
        lane: Settings of the listen lane.
        group_id: Consumer group of the listen lane.
        folder: Local tables of this machine's worker.
        more_folders: Local tables of other workers with the same data folder.
    """

    clients: Clients
    topics: Topics
    lane: LaneSettings
    group_id: str
    folder: Path
    more_folders: tuple[Path, ...] = ()

    @property
    def identity(self) -> TableIdentity:
        """Source topic, changelog topic and partition count of the tables."""
        listens = self.topics.listens
        return TableIdentity(
            listens.name, self.topics.user_state_changelog.name, listens.partitions, listens.partitioner
        )

    @property
    def co_partitioned_topics(self) -> tuple[str, ...]:
        """Other topics with the same partitioning as the listens; an older installation may lack some."""
        return self.topics.user_erasures.name, self.topics.item_counts.name

    def require_idle(self) -> None:
        """Check that no worker of the group is running.

        Raises:
            LaneError: The group has members.
            BrokerError: Kafka does not describe the group.
            SettingsError: The broker is the embedded one, which runs inside its only worker.
        """
        if self.clients.is_embedded:
            msg = "states: expected Apache Kafka, got the embedded broker, which stores nothing beyond its process"
            raise SettingsError(msg)
        until_s = time.monotonic() + _COORDINATOR_S
        while True:
            try:
                members = self.members()
                break
            except KafkaError as exc:
                if not exc.retriable or time.monotonic() > until_s:
                    msg = (
                        f"group {self.group_id}: Kafka does not describe it ({exc!r}); check the broker and its "
                        "permissions"
                    )
                    raise BrokerError(msg) from exc
            time.sleep(_RETRY_S)
        if members:
            msg = (
                f"group {self.group_id}: expected no members, got {members}; stop all workers (the group drops a "
                f"killed one after {self.clients.settings.session_timeout_ms / 1e3:.0f} s) and try again"
            )
            raise LaneError(msg)

    def partition_of(self, user: bytes) -> int:
        """Return the partition of a user's key."""
        return self.identity.partition_of(user)

    def existing_topics(self) -> Mapping[str, TopicState]:
        """Look up the source topic, the changelog and the co-partitioned topics in Kafka.

        Returns:
            Those that exist, by name.

        Raises:
            LaneError: The source topic or the changelog is missing.
        """
        names = (self.identity.source_topic, self.identity.changelog_topic)
        found = describe_topics(self.clients, *names, *self.co_partitioned_topics)
        for name in names:
            if name not in found:
                msg = f"{name}: expected a topic, got none; run `sidestream topics create`, then this command again"
                raise LaneError(msg)
        return found

    async def read(self, topic: str, partition: int, from_offset: int = 0) -> AsyncIterator[Any]:
        """Read all records of a partition up to its current end.

        Args:
            topic: Topic.
            partition: Partition.
            from_offset: First offset to read.

        Yields:
            Records in offset order.

        Raises:
            TopicError: The topic does not exist, or was recreated.
            BrokerError: Kafka cannot be read.
        """
        start = {partition: from_offset} if from_offset else {}
        async with aclosing(read_to_end(self.clients, topic, [partition], start=start)) as batches:
            async for batch in batches:
                for record in batch.records:
                    yield record

    async def changelog(self, partition: int) -> dict[bytes, bytes]:
        """Read the last value of each key of a changelog partition into memory, reserved keys included.

        Args:
            partition: Partition.

        Returns:
            Values by key.

        Raises:
            TopicError: A record cannot be read: its state is lost.
            BrokerError: Kafka cannot be read.
        """
        values: dict[bytes, bytes] = {}
        async for batch in read_to_end(self.clients, self.identity.changelog_topic, [partition], intact=True):
            keep_last(batch.records, values)
        return values

    async def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return first and next offset of each partition of a topic."""
        return dict(await fetch_bounds(self.clients, topic, range(self.identity.num_partitions)))

    def committed(self, topic: str | None = None) -> dict[int, int]:
        """Return the group's committed offsets, by default those of the source; partitions without one are omitted."""
        admin = self.clients.admin()
        try:
            found = admin.list_group_offsets({self.group_id: None})[self.group_id]
        finally:
            admin.close()
        name = topic or self.identity.source_topic
        return {p.partition: at.offset for p, at in found.items() if p.topic == name and at.offset >= 0}

    def commit(self, offsets: Mapping[int, int], topic: str | None = None) -> None:
        """Set the group's committed offsets, by default those of the source."""
        admin, name = self.clients.admin(), topic or self.identity.source_topic
        try:
            wanted = {Place(name, p): OffsetAndMetadata(at, "", -1) for p, at in offsets.items()}
            self._refuse_errors(admin.alter_group_offsets(self.group_id, wanted))
        finally:
            admin.close()

    def delete_offsets(self, partitions: Collection[int], *, source: bool = True) -> None:
        """Delete the group's source offsets, and those of erasures, which must be applied again to refolded listens.

        Args:
            partitions: Partitions; those without an offset stay as they are.
            source: False keeps the offsets of the source.
        """
        names = (self.topics.user_erasures.name, *((self.identity.source_topic,) if source else ()))
        places = [Place(name, p) for name in names for p in self.committed(name) if p in partitions]
        if not places:
            return
        admin = self.clients.admin()
        try:
            self._refuse_errors(admin.delete_group_offsets(self.group_id, places))
        finally:
            admin.close()

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[ChangelogWriter]:
        """Open the lane's writer, which aborts the open transactions of a worker and fences it."""
        partitions = range(self.identity.num_partitions)
        pacer = Pacer(self.lane.slice_ms, self.lane.listen_share)
        writer = make_writer(self.lane, self.clients, self.identity, self.group_id, pacer)
        try:
            await run_concurrently(writer.open(partition) for partition in partitions)
            for partition, (_, end) in (await self.bounds(self.identity.changelog_topic)).items():
                writer.set_changelog_end(partition, end)
            yield writer
        finally:
            await run_concurrently(writer.close(partition) for partition in partitions)

    def local_path(self, partition: int) -> Path:
        """Return the folder of a local database; if none exists, the one that the first worker would create."""
        return next(iter(self.local_paths(partition)), self._path(self.folder, partition))

    def local_paths(self, partition: int) -> list[Path]:
        """Return the folders of all local databases of a partition, which may have moved between workers."""
        paths = (self._path(folder, partition) for folder in (self.folder, *self.more_folders))
        return [path for path in paths if path.exists()]

    def read_tables(self, partition: int) -> list[LocalTable]:
        """Read all local databases of a partition."""
        return [
            LocalTable(path, *self._read_table(folder, partition))
            for folder in (self.folder, *self.more_folders)
            if (path := self._path(folder, partition)).exists()
        ]

    def read_table(self, partition: int) -> tuple[dict[bytes, bytes], Positions, TableTopics]:
        """Read a local database; of several, the most recent one. A missing one counts as empty.

        Args:
            partition: Partition.

        Returns:
            Its values of users, its positions, and the topics that they belong to.
        """
        found = max(self.read_tables(partition), key=lambda table: table.positions.changelog_offset, default=None)
        return ({}, Positions(), TableTopics()) if found is None else (found.values, found.positions, found.topics)

    def _read_table(self, folder: Path, partition: int) -> tuple[dict[bytes, bytes], Positions, TableTopics]:
        tables = UserTable(folder, self.identity, self.lane.table)
        try:
            table = tables.open([partition])[partition]
            found = {key: value for key, value in table.scan(b"") if key != META_KEY and not is_reserved(key)}
            return found, table.positions, table.topics
        finally:
            tables.close()

    def _path(self, folder: Path, partition: int) -> Path:
        return folder / self.identity.source_topic / f"{partition}.db"

    def members(self) -> int:
        """Count the workers of the group.

        Returns:
            Their number.

        Raises:
            KafkaError: Kafka does not describe the group.
        """
        admin = self.clients.admin()
        try:
            group = admin.describe_groups([self.group_id])[self.group_id]
        finally:
            admin.close()
        return 0 if group["group_state"] in _IDLE else max(1, len(group["members"]))

    def _refuse_errors(self, answers: Mapping[Any, Any]) -> None:
        refused = [
            f"{place.topic}/{place.partition}: {error.__name__}" for place, error in answers.items() if error.errno
        ]
        if refused:
            msg = (
                f"group {self.group_id}: Kafka refused to change its offsets: {'; '.join(refused)}; stop all workers "
                "and try again"
            )
            raise LaneError(msg)


async def publish_all(
    writer: ChangelogWriter, partition: int, values: Mapping[bytes, bytes | None], source_next: int
) -> None:
    """Write values of one changelog partition, in transactions if the lane uses them.

    Args:
        writer: Open writer.
        partition: Partition.
        values: By key; `None` writes a tombstone.
        source_next: Source offset that is committed with them.

    Raises:
        LaneError: The values may not be durable, or a worker was started in the meantime.
    """
    items = list(values.items())
    for first in range(0, len(items), CHUNK):
        await writer.publish(FoldedBatch(partition, dict(items[first : first + CHUNK]), (), source_next))
        await asyncio.sleep(0)
