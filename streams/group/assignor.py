"""Faust's assignor with our distribution of the partitions whose states a lane keeps.

Workers say which of their tables are current when they join, and the leader says which partitions are coming. Both
travel in the assignments that Faust's protocol carries anyway, under names that no topic can have: other versions keep
them and do not read them.

Topics without such a lane are distributed by Faust.
"""

from collections.abc import Mapping, Set
from typing import Any, Protocol, cast

from aiokafka.cluster import ClusterMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata, CopartitionedAssignment
from faust.assignor.cluster_assignment import ClusterAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor
from faust.assignor.partition_assignor import MemberAssignmentMapping, PartitionAssignor

from sidestream.streams.group.distribution import Report, distribute
from sidestream.streams.runtime.lane_protocol import HeldTables

# Behind the name of the source topic.
_CURRENT, _ON_DISK, _COMING = "#current", "#on-disk", "#coming"


class TableKeeper(Protocol):
    """Transport whose lanes keep tables."""

    def held_tables(self) -> Mapping[str, HeldTables]:
        """Return what the lanes hold, by source topic; those that keep no tables for others are left out."""


class LaneAssignor(PartitionAssignor):
    """Assignor of the workers of a group."""

    def has_arrived(self, *, all_of_them: bool) -> bool:
        """Tell whether tables of coming partitions are current, so that the group should rebalance.

        Args:
            all_of_them: Whether all must be, or only some.

        Returns:
            Whether there are such partitions, and their tables are current.
        """
        coming = self.coming
        held = cast(TableKeeper, self.app.transport).held_tables() if coming else {}
        arrived = {topic: some & held[topic].current for topic, some in coming.items() if topic in held}
        return bool(arrived) and (arrived == coming if all_of_them else any(arrived.values()))

    @property
    def coming(self) -> Mapping[str, Set[int]]:
        """Partitions that this worker will own once their tables are current, by topic."""
        standbys = self._assignment.standbys.items()
        return {name.removesuffix(_COMING): set(some) for name, some in standbys if name.endswith(_COMING) and some}

    @property
    def _metadata(self) -> ClientMetadata:
        assignment = self._assignment
        standbys = {name: some for name, some in assignment.standbys.items() if "#" not in name}
        for topic, held in cast(TableKeeper, self.app.transport).held_tables().items():
            standbys |= {topic + _CURRENT: sorted(held.current), topic + _ON_DISK: sorted(held.on_disk)}
        metadata = super()._metadata
        metadata.assignment = ClientAssignment(actives=assignment.actives, standbys=standbys)
        return metadata

    def _perform_assignment(
        self, cluster: ClusterMetadata, member_metadata: Mapping[str, Any]
    ) -> MemberAssignmentMapping:
        """Distribute every group of topics, as Faust's own method does, but for ours."""
        known = {member: self._get_client_metadata(metadata) for member, metadata in member_metadata.items()}
        subscriptions = {member: list(metadata.subscription) for member, metadata in member_metadata.items()}
        asked = ClusterAssignment()
        for member, metadata in known.items():
            asked.add_client(member, subscriptions[member], metadata)
        self._update_member_urls(known)
        groups = self._get_copartitioned_groups(asked.topics(), cluster, subscriptions)
        assignments = {member: ClientAssignment(actives={}, standbys={}) for member in known}
        group_of: dict[str, int] = {}
        for number, (num_partitions, topic_groups) in enumerate(sorted(groups.items())):
            for topics in topic_groups:
                group_of |= dict.fromkeys(topics, number)
                members = asked.copartitioned_assignments(topics)
                said = {member: known[member].assignment.standbys for member in members}
                if (source := _source_of(topics, said)) is None:
                    shares = CopartitionedAssignor(
                        topics=topics, cluster_asgn=members, num_partitions=num_partitions, replicas=self.replicas
                    ).get_assignment()
                else:
                    shares = _distribute(source, topics, members, said, num_partitions, assignments)
                for member, share in shares.items():
                    assignments[member].add_copartitioned_assignment(share)
        return self._protocol_assignments(
            assignments,
            self._get_changelog_distribution(assignments),
            self._get_external_topic_distribution(assignments),
            group_of,
        )


def _source_of(topics: Set[str], said: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Find the topic whose lane keeps tables: one of them, by what the workers say."""
    return next((topic for topic in sorted(topics) if any(topic + _CURRENT in of for of in said.values())), None)


def _distribute(
    source: str,
    topics: Set[str],
    members: Mapping[str, CopartitionedAssignment],
    said: Mapping[str, Mapping[str, Any]],
    num_partitions: int,
    assignments: Mapping[str, ClientAssignment],
) -> dict[str, CopartitionedAssignment]:
    """Distribute topics by the tables of one of them, and note what is coming in `assignments`."""
    known = frozenset(range(num_partitions))
    reports = {}
    for member, held in members.items():
        current = said[member].get(source + _CURRENT)
        reports[member] = Report(
            known & held.actives,
            known & (held.standbys | set(said[member].get(source + _ON_DISK, ()))),
            None if current is None else known & set(current),
        )
    shares = distribute(reports, num_partitions)
    for member, share in shares.items():
        assignments[member].standbys[source + _COMING] = sorted(share.coming)
    return {
        member: CopartitionedAssignment(actives=share.owned, standbys=share.standbys, topics=set(topics))
        for member, share in shares.items()
    }
