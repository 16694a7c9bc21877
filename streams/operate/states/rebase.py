"""Carries states over to a source that was recreated, repartitioned or got another partitioner, or to a new changelog.

A state moves to the changelog partition of its key, and its watermark is reset, because its offsets were those of
another log; its history and the ids of its last events stay. If source and partition are unchanged (only the changelog
was recreated), it is copied from the local table unchanged.

A rebase may be interrupted anywhere and run again. First all states are written to their target partitions, then each
partition deletes the states that left it and gets its new origin record: a partition with that record is done; one
without it is rejected by workers and processed from scratch here. Pending erasures move with their users (`requests`);
if listens are folded again, all erasures are read again. Memory holds the states of one partition at a time.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sidestream.models.history import rebase
from sidestream.streams.contracts.placement import likely_partitioner
from sidestream.streams.errors import LaneError
from sidestream.streams.listens.durable.writer import ChangelogWriter
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin, is_reserved
from sidestream.streams.operate.states.offline import OfflineStates, publish_all
from sidestream.streams.operate.states.requests import carry_requests

_BLOCK = b"\xff"


@dataclass(slots=True)
class RebaseReport:
    """The result of a rebase.

    Attributes:
        current: Partitions that needed no change.
        rebased: Partitions whose states were carried over.
        reasons: What had changed, one line each.
        states: Values written.
        moved: Of these, to another partition.
        from_tables: Of these, from a local table, because the changelog had lost them.
    """

    current: int = 0
    rebased: int = 0
    reasons: tuple[str, ...] = ()
    states: int = 0
    moved: int = 0
    from_tables: int = 0


@dataclass(slots=True)
class _Plan:
    """A partition that has to be rebased."""

    differences: list[str]
    begins_again: bool
    source_next: int
    carried: bool
    refolds: bool
    users_move: bool
    leaving: list[bytes] = field(default_factory=list)


async def rebase_states(offline: OfflineStates, *, refold: bool = False, leave_unfolded: bool = False) -> RebaseReport:
    """Make the states consistent with the current topics.

    Args:
        offline: The states.
        refold: If no state is left, fold the listens that the source still has.
        leave_unfolded: Continue even if users move away from listens that are not folded yet.

    Returns:
        The report; nothing is written if all partitions are current.

    Raises:
        LaneError: A worker is running, topics do not match the settings, or data would be lost.
    """
    await asyncio.to_thread(offline.require_idle)
    now = await asyncio.to_thread(_origin_now, offline)
    committed = await asyncio.to_thread(offline.committed)
    changelog_id = offline.existing_topics()[offline.identity.changelog_topic].topic_id
    async with offline.writer() as writer:
        return await _Rebase(offline, now, changelog_id, writer, committed, refold, leave_unfolded).run()


def _origin_now(offline: OfflineStates) -> Origin:
    """Return the source's identity, after adding missing partitions to the co-partitioned topics."""
    identity, found = offline.identity, offline.existing_topics()
    source, changelog = found[identity.source_topic], found[identity.changelog_topic]
    count = identity.num_partitions
    if source.partitions != count or changelog.partitions > count:
        msg = (
            f"{identity.source_topic}: expected {count} partitions (topics.user_partitions), got {source.partitions}, "
            f"and {changelog.partitions} of {identity.changelog_topic}; set topics.user_partitions to the source's "
            "number; a changelog with more than that must be recreated while this machine has its local tables"
        )
        raise LaneError(msg)
    names = (identity.changelog_topic, *offline.co_partitioned_topics)
    if too_small := [name for name, state in found.items() if name in names and state.partitions < count]:
        admin = offline.clients.admin()
        try:
            admin.create_partitions(dict.fromkeys(too_small, count))
            admin.wait_for_topics(too_small)
        finally:
            admin.close()
    return Origin(identity.source_topic, source.topic_id, count, partitioner=identity.partitioner)


class _Rebase:
    def __init__(
        self,
        offline: OfflineStates,
        now: Origin,
        changelog_id: str | None,
        writer: ChangelogWriter,
        committed: Mapping[int, int],
        refold: bool,
        leave_unfolded: bool,
    ) -> None:
        self._offline, self._now, self._changelog_id = offline, now, changelog_id
        self._writer, self._committed = writer, committed
        self._refold, self._leave_unfolded = refold, leave_unfolded
        self._bounds: dict[int, tuple[int, int]] = {}
        self._plans: dict[int, _Plan] = {}
        self._origins: dict[int, Origin | None] = {}
        self._report = RebaseReport()

    async def run(self) -> RebaseReport:
        self._bounds = await self._offline.bounds(self._now.source_topic)
        for partition in self._bounds:
            await self._inspect(partition)
        self._report.reasons = tuple(sorted({reason for plan in self._plans.values() for reason in plan.differences}))
        self._report.current = len(self._bounds) - len(self._plans)
        for partition in self._plans:
            await self._carry(partition)
        await self._carry_requests()
        if not self._writer.commits_source and self._plans:
            next_offsets = {partition: plan.source_next for partition, plan in self._plans.items()}
            await asyncio.to_thread(self._offline.commit, next_offsets)
        for partition, plan in self._plans.items():
            gone: dict[bytes, bytes | None] = dict.fromkeys(plan.leaving)
            record = replace(self._now, carried=plan.carried or bool(self._report.moved))
            await publish_all(self._writer, partition, {**gone, ORIGIN_KEY: record.to_bytes()}, plan.source_next)
            self._report.rebased += 1
        return self._report

    async def _inspect(self, partition: int) -> None:
        """Determine whether a partition must be rebased, and from which source offset its listens continue."""
        values = await self._offline.changelog(partition)
        record = values.get(ORIGIN_KEY)
        origin = self._origins[partition] = None if record is None else self._completed(record, partition, values)
        begin, end = self._bounds[partition]
        committed = self._committed.get(partition)
        differences = ["no origin record"] if origin is None else origin.differences(self._now)
        if not differences and (committed or 0) <= end:
            return
        local, local_next = await asyncio.to_thread(self._local, partition, origin, not values)
        if not values and not local and committed and not self._refold:
            msg = (
                f"changelog {self._offline.identity.changelog_topic}/{partition}: expected the states of {committed} "
                f"folded listens, got none, neither there nor in {self._offline.local_path(partition)}; run this "
                "on the machine whose worker owned the partition, or with --refold to fold what the source still has"
            )
            raise LaneError(msg)
        # Kafka deletes committed offsets with their topic: without topic ids, only they tell a log from its successor.
        same_source = committed is not None and committed <= end
        if origin is not None and origin.source_id and self._now.source_id:
            same_source = origin.source_id == self._now.source_id and (committed or 0) <= end
        users_move = same_source and origin is not None and not _has_same_partitions(origin, self._now)
        if users_move and (committed or 0) < end and not self._leave_unfolded:
            msg = (
                f"{self._now.source_topic}/{partition}: expected all listens to be folded before users move, got "
                f"{end - (committed or 0)} that are not; those of users who move would be folded into states that are "
                "never read; --leave-unfolded continues without them"
            )
            raise LaneError(msg)
        known = bool(values or local)
        source_next = (local_next if local else committed) if same_source and known else begin
        carried = (known and not same_source) or (origin is not None and origin.carried)
        self._plans[partition] = _Plan(
            differences,
            not same_source,
            max(source_next or 0, begin),
            carried,
            refolds=not known,
            users_move=users_move,
        )

    def _completed(self, record: bytes, partition: int, values: Mapping[bytes, bytes]) -> Origin:
        """Decode an origin record; earlier releases left out the partitioner, and took any that all producers used."""
        origin, configured = Origin.from_bytes(record), self._offline.identity.partitioner
        if origin.partitioner is not None:
            return origin
        users = [key for key in values if not key.startswith(_BLOCK)]
        return replace(origin, partitioner=likely_partitioner(users, partition, origin.num_partitions, configured))

    async def _carry(self, partition: int) -> None:
        """Write the states of one partition to their target partitions; nothing is removed yet."""
        plan, origin = self._plans[partition], self._origins[partition]
        values = await self._offline.changelog(partition)
        local, _ = await asyncio.to_thread(self._local, partition, origin, not values)
        self._report.from_tables += len(local)
        by_target: dict[int, dict[bytes, bytes | None]] = {}
        for key, value in {**local, **values}.items():
            if is_reserved(key):
                continue
            user = _user_of(key)
            target = self._offline.identity.partition_of(user)
            if target != partition:
                if key in values:
                    plan.leaving.append(key)
                # A state in a partition where it never belonged is from an interrupted rebase. A partition that is
                # done already has its states, and may have folded further listens.
                strayed = origin is not None and origin.partition_of(user) != partition
                if strayed or target not in self._plans:
                    continue
                self._report.moved += 1
            begins_again = plan.begins_again or target != partition
            fresh = rebase(value) if begins_again and key == user else value
            # An unchanged value was written by this run or an earlier one.
            if target != partition or key in local or fresh != value:
                by_target.setdefault(target, {})[key] = fresh
        for target, states in by_target.items():
            self._report.states += len(states)
            await publish_all(self._writer, target, states, self._plans[target].source_next)

    async def _carry_requests(self) -> None:
        """Move pending erasures to their users' partitions, and have all erasures read again for refolded listens."""
        source_nexts = {partition: plan.source_next for partition, plan in self._plans.items()}
        for partition in [partition for partition, plan in self._plans.items() if plan.users_move]:
            await carry_requests(self._offline, self._writer, partition, source_nexts)
        refolded = [partition for partition, plan in self._plans.items() if plan.refolds]
        await asyncio.to_thread(self._offline.delete_offsets, refolded, source=False)

    def _local(self, partition: int, origin: Origin | None, is_empty: bool) -> tuple[dict[bytes, bytes], int]:
        """Read values and source offset of a local table whose changelog was deleted."""
        if origin is not None:
            return {}, 0
        values, positions, topics = self._offline.read_table(partition)
        if topics.changelog_id == self._changelog_id or (topics.changelog_id is None and not is_empty):
            return {}, 0
        return values, positions.source_next


def _has_same_partitions(origin: Origin, now: Origin) -> bool:
    return (origin.num_partitions, origin.partitioner) == (now.num_partitions, now.partitioner)


def _user_of(key: bytes) -> bytes:
    """Return the user of a key; keys of a user's other values contain the user between two bytes of 0xff."""
    return key[1 : key.index(_BLOCK, 1)] if key.startswith(_BLOCK) else key
