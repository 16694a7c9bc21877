"""Whether the states of an assignment were folded from the topics that are there now; if not, nothing is folded.

Four things can have happened while nobody looked, and each would lose or hide listens without a word: the source topic
was recreated, or got more partitions; the changelog was recreated, or was emptied. Two looks find them:

* before a database is restored: its offset must be one of this changelog, by topic id. A database
  whose changelog is gone may hold the only states, so it is kept, unless the new changelog says it has those of this
  source;
* after it: the changelog's own record of its origin must name the source that is there now. It is written when a
  partition is first owned, so an empty changelog below a committed source offset is one that lost its states.

Comparing after the restore, not before, is what makes a fresh disk as safe as a kept one, and lets a kept one go on
after a rebase that another machine ran.
"""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka.partitioner import murmur2

from sidestream.streams.errors import LaneError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.reading import read_to_end
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin, look_up
from sidestream.streams.listens.table.meta import TableIdentity, TableTopics
from sidestream.streams.listens.table.partition import PartitionTable

REBASE = (
    "nothing was folded or changed; stop all workers of the group and run `sidestream state rebase`, which carries the "
    "states over, then start them again"
)
CREATE = "nothing was folded or changed; run `sidestream topics create`, then start the worker again"


class Admission:
    """Compares tables and topics for one lane.

    Args:
        identity: Names and partition count that the lane is set to.
        clients: Factory of Kafka clients.
        beside: Other topics that the lane reads or writes in the partition of the listens.

    Attributes:
        removals_kept_ms: For how long the changelog keeps them at least; none before the first look.
    """

    def __init__(self, identity: TableIdentity, clients: Clients, beside: Sequence[str] = ()) -> None:
        self._identity, self._clients, self._beside = identity, clients, tuple(beside)
        self._topics = TableTopics()
        self.removals_kept_ms: int | None = None

    @property
    def origin(self) -> Origin:
        """The source as it is now."""
        return Origin(self._identity.source_topic, self._topics.source_id, self._identity.num_partitions)

    async def look(self) -> None:
        """Ask Kafka for the topics of this assignment.

        Raises:
            LaneError: One is missing, or has another partition count than the lane is set to.
            TopicError: Kafka does not answer.
        """
        names, count = (self._identity.source_topic, self._identity.changelog_topic), self._identity.num_partitions
        found = await asyncio.to_thread(look_up, self._clients, *names, *self._beside)
        for name in (*names, *self._beside):
            state = found.get(name)
            if state is None or state.partitions != count:
                got = "no such topic" if state is None else str(state.partitions)
                then = CREATE if state is None and name in self._beside else REBASE
                msg = f"{name}: expected {count} partitions (topics.user_partitions), got {got}; {then}"
                raise LaneError(msg)
        source, changelog = (found[name] for name in names)
        self._topics = TableTopics(source.topic_id, changelog.topic_id)
        self.removals_kept_ms = changelog.removals_kept_ms

    async def before_restore(self, tables: Mapping[int, PartitionTable]) -> None:
        """Let no database be restored from another changelog than its own.

        Args:
            tables: Open databases by partition.

        Raises:
            LaneError: The changelog was recreated, and does not say that it holds the states.
        """
        for partition, table in tables.items():
            stored, now = table.topics.changelog_id, self._topics.changelog_id
            if stored and now and stored != now:
                origin = await self._recorded(partition)
                if origin is None or origin.differences(self.origin):
                    msg = (
                        f"{self._identity.changelog_topic}/{partition}: changelog recreated: expected topic id "
                        f"{stored}, got {now}; the states are left in {table.path} alone; {REBASE}"
                    )
                    raise LaneError(msg)
                table.clear()
            table.belong_to(self._topics)

    def after_restore(
        self, tables: Mapping[int, PartitionTable], committed: Mapping[int, int | None]
    ) -> dict[int, Origin]:
        """Let nothing be folded onto states of another source.

        Args:
            tables: Restored databases by partition.
            committed: The group's source offsets.

        Returns:
            The record to write, for partitions of the changelog that have none yet.

        Raises:
            LaneError: The states are of another source, or are gone.
        """
        missing = {}
        for partition, table in tables.items():
            record = table.get(ORIGIN_KEY)
            if record is not None:
                differences = Origin.from_bytes(record).differences(self.origin)
            else:
                differences = self._unrecorded(partition, table, committed[partition] or 0)
                missing[partition] = self.origin
            if differences:
                msg = f"{self._identity.source_topic}/{partition}: {'; '.join(differences)}; {REBASE}"
                raise LaneError(msg)
        return missing

    def _unrecorded(self, partition: int, table: PartitionTable, committed: int) -> list[str]:
        """Judge a changelog of an earlier release, or a new one."""
        if table.positions.changelog_offset < 0 and committed > 0:
            return [
                f"changelog {self._identity.changelog_topic} emptied: expected the states of {committed} listens that "
                "are folded already, got none"
            ]
        count = self._identity.num_partitions
        for key, _ in table.items():  # noqa: PERF102 - a table has no `keys`
            if partition_of(key, count) != partition:
                return [f"repartitioned: expected the users of {partition} of {count} partitions, got {key!r}"]
        return []

    async def _recorded(self, partition: int) -> Origin | None:
        """Read the record of a changelog partition that no table holds; all of it is read."""
        found: bytes | None = None
        async for batch in read_to_end(self._clients, self._identity.changelog_topic, [partition]):
            for record in batch.records:
                found = record.value if record.key == ORIGIN_KEY else found
        return None if found is None else Origin.from_bytes(found)


def partition_of(key: bytes, num_partitions: int) -> int:
    """Name the partition of a key.

    Args:
        key: User id in UTF-8.
        num_partitions: Of the topic.

    Returns:
        The partition.

    Source: Kafka's default partitioner, murmur2 of the key with the sign bit cleared.
    """
    return int((murmur2(key) & 0x7FFFFFFF) % num_partitions)
