"""Check that the states of an assignment were folded from the current topics; otherwise nothing is folded.

Four changes may have happened while no worker ran, and each would silently lose or hide listens: the source topic was
recreated, or got more partitions; the changelog was recreated, or was emptied. Two checks detect them:

* before the restore: a database's offset must belong to this changelog, by topic id. A database whose changelog was
  recreated may hold the only copy of the states, so it is kept, unless the new changelog's origin record names this
  source;
* after the restore: the changelog's origin record must name the current source. It is written when a partition is first
  owned, so an empty changelog with a committed source offset has lost its states.

Comparing after the restore makes a fresh disk as safe as an existing one, and lets an existing database continue after
a rebase that ran on another machine.
"""

import asyncio
from collections.abc import Mapping, Sequence

from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.reading import read_to_end
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin, describe_topics
from sidestream.streams.listens.table.meta import TableIdentity, TableTopics
from sidestream.streams.listens.table.partition import PartitionTable

REBASE = (
    "nothing was folded or changed; stop all workers of the group and run `sidestream state rebase`, which carries the "
    "states over, then start the workers again"
)
CREATE = "nothing was folded or changed; run `sidestream topics create`, then start the worker again"


class SourceCheck:
    """Compares tables and topics for one lane.

    Args:
        identity: Topic names and partition count configured for the lane.
        clients: Kafka client factory.
        side_topics: Other topics that the lane reads or writes, with the partitions of the listens.

    Attributes:
        removals_kept_ms: Minimum retention of tombstones in the changelog; None before `read_topics`.
    """

    def __init__(self, identity: TableIdentity, clients: Clients, side_topics: Sequence[str] = ()) -> None:
        self._identity, self._clients, self._side_topics = identity, clients, tuple(side_topics)
        self._topics = TableTopics()
        self.removals_kept_ms: int | None = None

    @property
    def origin(self) -> Origin:
        """Current source."""
        return Origin(self._identity.source_topic, self._topics.source_id, self._identity.num_partitions)

    async def read_topics(self) -> None:
        """Describe the topics of this assignment.

        Raises:
            LaneError: A topic is missing, or its partition count differs from the lane's settings.
            TopicError: Kafka does not answer.
        """
        names, count = (self._identity.source_topic, self._identity.changelog_topic), self._identity.num_partitions
        found = await asyncio.to_thread(describe_topics, self._clients, *names, *self._side_topics)
        for name in (*names, *self._side_topics):
            state = found.get(name)
            if state is None or state.partitions != count:
                got = "no such topic" if state is None else str(state.partitions)
                then = CREATE if state is None and name in self._side_topics else REBASE
                msg = f"{name}: expected {count} partitions (topics.user_partitions), got {got}; {then}"
                raise LaneError(msg)
        source, changelog = (found[name] for name in names)
        self._topics = TableTopics(source.topic_id, changelog.topic_id)
        self.removals_kept_ms = changelog.removals_kept_ms

    async def before_restore(self, tables: Mapping[int, PartitionTable]) -> None:
        """Check that every database is restored from its own changelog.

        Args:
            tables: Open databases by partition.

        Raises:
            LaneError: The changelog was recreated, and has no origin record of this source.
        """
        for partition, table in tables.items():
            stored, now = table.topics.changelog_id, self._topics.changelog_id
            if stored and now and stored != now:
                origin = await self._recorded_origin(partition)
                if origin is None or origin.differences(self.origin):
                    msg = (
                        f"{self._identity.changelog_topic}/{partition}: changelog recreated: expected topic id "
                        f"{stored}, got {now}; the only copy of the states is in {table.path}; {REBASE}"
                    )
                    raise LaneError(msg)
                table.clear()
            table.set_topics(self._topics)

    def after_restore(
        self, tables: Mapping[int, PartitionTable], committed: Mapping[int, int | None]
    ) -> dict[int, Origin]:
        """Check that the restored states come from this source.

        Args:
            tables: Restored databases by partition.
            committed: The group's source offsets.

        Returns:
            Origin records to write, for changelog partitions without one.

        Raises:
            LaneError: The states come from another source, or are lost.
        """
        missing = {}
        for partition, table in tables.items():
            record = table.get(ORIGIN_KEY)
            if record is not None:
                differences = Origin.from_bytes(record).differences(self.origin)
            else:
                differences = self._problems_without_record(partition, table, committed[partition] or 0)
                missing[partition] = self.origin
            if differences:
                msg = f"{self._identity.source_topic}/{partition}: {'; '.join(differences)}; {REBASE}"
                raise LaneError(msg)
        return missing

    def _problems_without_record(self, partition: int, table: PartitionTable, committed: int) -> list[str]:
        """Check a changelog without an origin record: of an earlier release, or new."""
        if table.positions.changelog_offset < 0 and committed > 0:
            return [
                f"changelog {self._identity.changelog_topic} emptied: expected the states of {committed} listens that "
                "are already folded, got none"
            ]
        count = self._identity.num_partitions
        for key, _ in table.items():  # noqa: PERF102 - a table has no `keys`
            if partition_of(key, count) != partition:
                return [f"repartitioned: expected the users of {partition} of {count} partitions, got {key!r}"]
        return []

    async def _recorded_origin(self, partition: int) -> Origin | None:
        """Read the origin record of a changelog partition that has not been restored; reads the whole partition."""
        found: bytes | None = None
        async for batch in read_to_end(self._clients, self._identity.changelog_topic, [partition]):
            for record in batch.records:
                found = record.value if record.key == ORIGIN_KEY else found
        return None if found is None else Origin.from_bytes(found)
