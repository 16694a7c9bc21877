"""Carrying states over to a source that was recreated or repartitioned, or to a changelog that was recreated.

A state moves to the changelog partition of its key, and its watermark starts again, because its offsets were those of
another log; its history and the ids of its last events stay. Where source and partition are still the same (only the
changelog was recreated), it is copied from the local table as it is.

It may be broken off anywhere and run again. First all states are written to where they belong, then each partition
lets go of those that left it and takes its new record of origin: a partition with that record is done, and one without
is refused by workers and begun anew here. Erasures that nobody has applied yet move with their users (`requests`);
where listens are folded anew, all erasures are read again. Memory holds the states of one partition at a time.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sidestream.models.history import rebase
from sidestream.streams.errors import LaneError
from sidestream.streams.listens.durable.writer import ChangelogWriter
from sidestream.streams.listens.restore.origin import ORIGIN_KEY, Origin, is_reserved
from sidestream.streams.listens.restore.source_check import partition_of
from sidestream.streams.operate.states.offline import Offline, publish_all
from sidestream.streams.operate.states.requests import carry_requests

_BLOCK = b"\xff"


@dataclass(slots=True)
class RebaseReport:
    """What a rebase did.

    Attributes:
        current: Partitions that needed nothing.
        rebased: Partitions whose states were carried over.
        reasons: What had changed, a line each.
        states: Values written with a new beginning, in all.
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
    """One partition that is not done yet."""

    differences: list[str]
    begins_again: bool
    source_next: int
    carried: bool
    refolds: bool
    grew: bool
    leaving: list[bytes] = field(default_factory=list)


async def rebase_states(offline: Offline, *, refold: bool = False, leave_unfolded: bool = False) -> RebaseReport:
    """Make the states fit the topics that are there now.

    Args:
        offline: The installation.
        refold: Where no state is left, fold anew what the source still holds.
        leave_unfolded: Go on where users move away from listens that nobody has folded.

    Returns:
        What was done; nothing where all fits.

    Raises:
        LaneError: A worker runs, topics do not fit the settings, or something would be lost.
    """
    await asyncio.to_thread(offline.require_idle)
    now = await asyncio.to_thread(_origin_now, offline)
    committed = await asyncio.to_thread(offline.committed)
    changelog_id = offline.live_topics()[offline.identity.changelog_topic].topic_id
    writer = await offline.open_writer()
    try:
        return await _Rebase(offline, now, changelog_id, writer, committed, refold, leave_unfolded).run()
    finally:
        await writer.close()


def _origin_now(offline: Offline) -> Origin:
    """Read the source's identity, and let what goes with it partition by partition grow to its size."""
    identity, found = offline.identity, offline.live_topics()
    source, changelog = found[identity.source_topic], found[identity.changelog_topic]
    count = identity.num_partitions
    if source.partitions != count or changelog.partitions > count:
        msg = (
            f"{identity.source_topic}: expected {count} partitions (topics.user_partitions), got {source.partitions}, "
            f"and {changelog.partitions} of {identity.changelog_topic}; set topics.user_partitions to the source's "
            "number; a changelog with more than that must be recreated while this machine has its local tables"
        )
        raise LaneError(msg)
    names = (identity.changelog_topic, *offline.beside_listens)
    if too_small := [name for name, state in found.items() if name in names and state.partitions < count]:
        admin = offline.clients.admin()
        try:
            admin.create_partitions(dict.fromkeys(too_small, count))
            admin.wait_for_topics(too_small)
        finally:
            admin.close()
    return Origin(identity.source_topic, source.topic_id, count)


class _Rebase:
    def __init__(
        self,
        offline: Offline,
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
            await self._judge(partition)
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

    async def _judge(self, partition: int) -> None:
        """Find out whether a partition needs anything, and where its listens go on."""
        values = await self._offline.changelog(partition)
        record = values.get(ORIGIN_KEY)
        origin = self._origins[partition] = None if record is None else Origin.from_bytes(record)
        begin, end = self._bounds[partition]
        committed = self._committed.get(partition)
        differences = ["no record of the origin"] if origin is None else origin.differences(self._now)
        if not differences and (committed or 0) <= end:
            return
        local, local_next = await asyncio.to_thread(self._local, partition, origin, not values)
        if not values and not local and committed and not self._refold:
            msg = (
                f"changelog {self._offline.identity.changelog_topic}/{partition}: expected the states of {committed} "
                f"folded listens, got none, neither there nor in {self._offline.local_path(partition)}; run this "
                "on the machine whose worker had the partition, or with --refold to fold what the source still holds"
            )
            raise LaneError(msg)
        # Kafka deletes committed offsets with their topic: without ids, they tell a log from its successor.
        same_source = committed is not None and committed <= end
        if origin is not None and origin.source_id and self._now.source_id:
            same_source = origin.source_id == self._now.source_id and (committed or 0) <= end
        grew = same_source and origin is not None and origin.num_partitions != self._now.num_partitions
        if grew and (committed or 0) < end and not self._leave_unfolded:
            msg = (
                f"{self._now.source_topic}/{partition}: expected all listens to be folded before users move, got "
                f"{end - (committed or 0)} that are not; those of users who move would be folded where nobody looks; "
                "--leave-unfolded goes on without them"
            )
            raise LaneError(msg)
        known = bool(values or local)
        source_next = (local_next if local else committed) if same_source and known else begin
        carried = (known and not same_source) or (origin is not None and origin.carried)
        self._plans[partition] = _Plan(
            differences, not same_source, max(source_next or 0, begin), carried, refolds=not known, grew=grew
        )

    async def _carry(self, partition: int) -> None:
        """Write the states of one partition to where they belong; nothing is removed yet."""
        plan, origin, count = self._plans[partition], self._origins[partition], self._now.num_partitions
        values = await self._offline.changelog(partition)
        local, _ = await asyncio.to_thread(self._local, partition, origin, not values)
        self._report.from_tables += len(local)
        by_target: dict[int, dict[bytes, bytes | None]] = {}
        for key, value in {**local, **values}.items():
            if is_reserved(key):
                continue
            user = _user_of(key)
            target = partition_of(user, count)
            if target != partition:
                if key in values:
                    plan.leaving.append(key)
                # What lies where it never belonged came from a rebase that was broken off; a partition that is done
                # has its states, and may have folded on.
                strayed = origin is not None and partition_of(user, origin.num_partitions) != partition
                if strayed or target not in self._plans:
                    continue
                self._report.moved += 1
            begins_again = plan.begins_again or target != partition
            fresh = rebase(value) if begins_again and key == user else value
            # What is there already was written by this run or one before it.
            if target != partition or key in local or fresh != value:
                by_target.setdefault(target, {})[key] = fresh
        for target, states in by_target.items():
            self._report.states += len(states)
            await publish_all(self._writer, target, states, self._plans[target].source_next)

    async def _carry_requests(self) -> None:
        """Let erasures that nobody has applied go where their users are, and old listens meet those of before."""
        source_nexts = {partition: plan.source_next for partition, plan in self._plans.items()}
        for partition in [partition for partition, plan in self._plans.items() if plan.grew]:
            await carry_requests(self._offline, self._writer, partition, source_nexts)
        anew = [partition for partition, plan in self._plans.items() if plan.refolds]
        await asyncio.to_thread(self._offline.forget_offsets, anew, source=False)

    def _local(self, partition: int, origin: Origin | None, is_empty: bool) -> tuple[dict[bytes, bytes], int]:
        """Read a local table whose changelog is gone: its values, and its source offset."""
        if origin is not None:
            return {}, 0
        values, positions, topics = self._offline.read_table(partition)
        if topics.changelog_id == self._changelog_id or (topics.changelog_id is None and not is_empty):
            return {}, 0
        return values, positions.source_next


def _user_of(key: bytes) -> bytes:
    """Name the user of a key; what belongs to a user beside the state has it between two bytes of 0xff."""
    return key[1 : key.index(_BLOCK, 1)] if key.startswith(_BLOCK) else key
