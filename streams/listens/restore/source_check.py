"""Check that the states of an assignment were folded from the current topics; otherwise nothing is folded.

Five changes may have happened while no worker ran, and each would silently lose or hide listens: the source topic was
recreated, or got more partitions; `topics.partitioner` was changed; the changelog was recreated, or was emptied. Two
checks detect them:

* before the restore: a database's offset must belong to this changelog, by topic id. A database whose changelog was
  recreated may hold the only copy of the states, so it is kept, unless the new changelog's origin record names this
  source;
* after the restore: the changelog's origin record must name the current source. It is written when a partition is first
  owned, so an empty changelog with a committed source offset has lost its states.

Comparing after the restore makes a fresh disk as safe as an existing one, and lets an existing database continue after
a rebase that ran on another machine.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice

from sidestream.streams.contracts.partitioner import partition_of
from sidestream.streams.contracts.placement import likely_partitioner
from sidestream.streams.errors import LaneError, LaneInterrupted, TopicError
from sidestream.streams.kafka.clients import Clients
from sidestream.streams.kafka.reading import read_to_end
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin, describe_topics
from sidestream.streams.listens.table.meta import TableIdentity, TableTopics
from sidestream.streams.listens.table.partition import PartitionTable

REBASE = (
    "nothing was folded or changed; stop all workers of the group and run `sidestream state rebase`, which carries the "
    "states over, then start the workers again"
)
SAMPLED_USERS = 1_000
CREATE = "nothing was folded or changed; run `sidestream topics create`, then start the worker again"
RECREATE = "nothing was folded or changed; delete it, run `sidestream topics create`, then start the worker again"
_NONE: Mapping[str, int] = {}
# How long a description is used for further partitions.
_FRESH_S = 2.0


class SourceCheck:
    """Compares tables and topics for one lane.

    Args:
        identity: Topic names and partition count configured for the lane.
        clients: Kafka client factory.
        side_topics: Other topics that the lane reads or writes, with their numbers of partitions.
        seconds: Monotonic clock.

    Attributes:
        removals_kept_ms: Minimum retention of tombstones in the changelog; None before `read_topics`.
    """

    def __init__(
        self,
        identity: TableIdentity,
        clients: Clients,
        side_topics: Mapping[str, int] = _NONE,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity, self._clients, self._side_topics = identity, clients, side_topics
        self._seconds = seconds
        self._topics = TableTopics()
        self._reading, self._fresh_until_s = asyncio.Lock(), 0.0
        self.removals_kept_ms: int | None = None

    @property
    def origin(self) -> Origin:
        """Current source."""
        identity = self._identity
        return Origin(
            identity.source_topic, self._topics.source_id, identity.num_partitions, partitioner=identity.partitioner
        )

    async def read_topics(self) -> None:
        """Describe the topics; partitions that are opened at the same time share one request.

        Raises:
            LaneError: A topic is missing, or its partition count differs from the lane's settings.
            LaneInterrupted: Kafka does not answer.
        """
        async with self._reading:
            if self._seconds() >= self._fresh_until_s:
                await self._describe()
                self._fresh_until_s = self._seconds() + _FRESH_S

    async def _describe(self) -> None:
        names, count = (self._identity.source_topic, self._identity.changelog_topic), self._identity.num_partitions
        wanted = {**dict.fromkeys(names, count), **self._side_topics}
        try:
            found = await asyncio.to_thread(describe_topics, self._clients, *wanted)
        except TopicError as exc:
            msg = f"{names[0]}: its topics cannot be described now ({exc}); check the broker"
            raise LaneInterrupted(msg) from exc
        for name, partitions in wanted.items():
            state = found.get(name)
            if state is None or state.partitions != partitions:
                got = "no such topic" if state is None else str(state.partitions)
                setting, then = " (topics.user_partitions)" if partitions == count else "", REBASE
                if name not in names and (state is None or partitions != count):
                    then = CREATE if state is None else RECREATE
                msg = f"{name}: expected {partitions} partitions{setting}, got {got}; {then}"
                raise LaneError(msg)
        source, changelog = (found[name] for name in names)
        self._topics = TableTopics(source.topic_id, changelog.topic_id)
        self.removals_kept_ms = changelog.removals_kept_ms

    async def before_restore(self, partition: int, table: PartitionTable) -> None:
        """Check that a database is restored from its own changelog.

        Args:
            partition: Partition number.
            table: Its open database.

        Raises:
            LaneError: The changelog was recreated, and has no origin record of this source.
        """
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

    def after_restore(self, partition: int, table: PartitionTable, committed: int | None) -> Origin | None:
        """Check that the restored states come from this source.

        Args:
            partition: Partition number.
            table: Its restored database.
            committed: The group's source offset.

        Returns:
            Origin record to write; None if the changelog has one of this release.

        Raises:
            LaneError: The states come from another source, or are lost.
        """
        record, missing = table.get(ORIGIN_KEY), None
        if record is not None:
            stored = Origin.from_bytes(record)
            differences = stored.differences(self.origin)
            if not differences and stored.partitioner is None:
                differences = self._other_partitioner(partition, table)
                missing = replace(stored, partitioner=self._identity.partitioner)
        else:
            differences = self._problems_without_record(partition, table, committed or 0)
            missing = self.origin
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
        if wrong := self._other_partitioner(partition, table):
            return [f"repartitioned: {one}" for one in wrong]
        count = self._identity.num_partitions
        for key, _ in table.items():  # noqa: PERF102 - a table has no `keys`
            if self._identity.partition_of(key) != partition:
                return [f"repartitioned: expected the users of {partition} of {count} partitions, got {key!r}"]
        return []

    def _other_partitioner(self, partition: int, table: PartitionTable) -> list[str]:
        """Check whether the users were distributed by another hash; some in a wrong partition are no proof."""
        users = [key for key, _ in islice(table.items(), SAMPLED_USERS)]
        count, configured = self._identity.num_partitions, self._identity.partitioner
        likely = likely_partitioner(users, partition, count, configured)
        if likely == configured:
            return []
        stray = next(user for user in users if partition_of(user, count, configured) != partition)
        return [
            f"expected the users of {partition} of {count} partitions by topics.partitioner = {configured}, got those "
            f"by {likely}, such as {stray!r}: set topics.partitioner to {likely} if the producers use it"
        ]

    async def _recorded_origin(self, partition: int) -> Origin | None:
        """Read the origin record of a changelog partition that has not been restored; reads the whole partition."""
        found: bytes | None = None
        async for batch in read_to_end(self._clients, self._identity.changelog_topic, [partition]):
            for record in batch.records:
                found = record.value if record.key == ORIGIN_KEY else found
        return None if found is None else Origin.from_bytes(found)
