"""Which users a sweep removes, and what is written for it. No I/O but reads of the table."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidestream.models.errors import StateError
from sidestream.models.history import block_prefix, expire, forget, is_idle, may_forget
from sidestream.streams.contracts.deadletters import DeadLetter
from sidestream.streams.listens.durable.writer import FoldedBatch
from sidestream.streams.listens.erasure.requests import SWEPT_HEADER
from sidestream.streams.listens.table.partition import PartitionTable
from sidestream.streams.runtime.lane_metrics import LaneMetrics


@dataclass(frozen=True, slots=True)
class Source:
    """Contents of a partition of the listens when a round of the sweep began.

    Attributes:
        start: First offset.
        start_at: Kafka timestamp of that record, or now; not after the minimum retention of watermarks, UTC epoch ms.
        end: End offset.
        idle_before: Listens at or after this time keep their user, UTC epoch ms; None if users do not expire.
        idle_offset: Likewise the first offset whose Kafka timestamp is not before that time.
    """

    start: int
    start_at: int
    end: int
    idle_before: int | None = None
    idle_offset: int = 0


@dataclass(frozen=True, slots=True)
class Removal:
    """A batch to be made durable, and the users that are gone with it."""

    batch: FoldedBatch
    forgotten: int = 0
    expired: int = 0

    def count(self, metrics: LaneMetrics) -> None:
        """Count the users, once the batch is durable."""
        if self.forgotten:
            metrics.forgotten(self.forgotten)
        if self.expired:
            metrics.expired(self.expired)


def removals(
    partition: int,
    rows: Sequence[tuple[bytes, bytes]],
    source: Source,
    table: PartitionTable,
    next_offset: int,
    erasures_topic: str,
) -> list[Removal]:
    """Return what to remove of some users.

    Args:
        partition: Partition of the users.
        rows: Keys and states.
        source: Contents of the listens.
        table: Table of the partition, for the blocks of idle users.
        next_offset: Next source offset, which does not change.
        erasures_topic: Topic of the requests.

    Returns:
        Batches, to be made durable in this order; empty if nothing is to be removed.
    """
    gone: dict[bytes, bytes | None] = {}
    asked: list[bytes] = []
    expired = 0
    for user, state in rows:
        try:
            if source.idle_before is not None and is_idle(state, source.idle_before, source.idle_offset):
                # The state last: it is what a later round finds the blocks by.
                gone.update(dict.fromkeys(key for key, _ in table.scan(block_prefix(user))))
                gone[user] = expire(state)
                expired += 1
            elif may_forget(state, source.start, source.start_at):
                gone[user] = forget(state)
                asked.append(user)
        except StateError:  # the user's next listen or session reports it
            continue
    found = []
    if asked:
        ends = [DeadLetter(erasures_topic, user, None, [(SWEPT_HEADER, b"1")]) for user in asked]
        found.append(Removal(FoldedBatch(partition, {}, ends, next_offset)))
    if gone:
        found.append(Removal(FoldedBatch(partition, gone, [], next_offset), len(asked), expired))
    return found
