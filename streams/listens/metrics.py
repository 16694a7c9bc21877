"""What the lanes count: the protocol that a metrics registry implements, and plain numbers where there is none."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


class LaneMetrics(Protocol):
    """Counters of the listen lane; called on the event loop, must not block."""

    def folded(self, applied: int, repeats: int, late: int, stale: int) -> None:
        """Count listens by what the fold did with them.

        Args:
            applied: Folded into a state.
            repeats: Event id seen before.
            late: Older than the tail of a full ring.
            stale: At or below the state's watermark: replays.
        """

    def bad(self, reason: str, topic: str | None = None) -> None:
        """Count one record that went to the dead letters.

        Args:
            reason: Reason code of `BadRecord`.
            topic: Where it came from; none for the listens.
        """

    def refused(self, listens: int) -> None:
        """Count listens from before their user's erasure.

        Args:
            listens: How many.
        """

    def erased(self, users: int) -> None:
        """Count users whose data an erasure request took.

        Args:
            users: How many.
        """

    def forgotten(self, users: int) -> None:
        """Count erased users whose watermarks went, too.

        Args:
            users: How many.
        """

    def batch(self, seconds: float, records: int) -> None:
        """Count one batch of one partition.

        Args:
            seconds: From the start of its fold to the end of its write.
            records: Source records in it.
        """

    def restored(self, records: int) -> None:
        """Count changelog records that were read to rebuild tables.

        Args:
            records: How many.
        """

    def rebuilt(self, reason: str) -> None:
        """Count one table that is rebuilt from the start of its changelog, though there was a local one.

        Args:
            reason: damaged, or ahead of or behind what the changelog holds.
        """

    def stray(self, records: int) -> None:
        """Count records of a lane that Faust's own consumer fetched and that were dropped there.

        Args:
            records: How many.
        """


@dataclass(slots=True)
class LaneCounts:
    """`LaneMetrics` in plain numbers."""

    applied: int = 0
    repeats: int = 0
    late: int = 0
    stale: int = 0
    bad_by_reason: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    batch_records: int = 0
    batch_seconds: float = 0.0
    restored_records: int = 0
    rebuilt_by_reason: Counter[str] = field(default_factory=Counter)
    stray_records: int = 0
    refused_listens: int = 0
    erased_users: int = 0
    forgotten_users: int = 0

    def folded(self, applied: int, repeats: int, late: int, stale: int) -> None:
        """Count listens by what the fold did with them."""
        self.applied += applied
        self.repeats += repeats
        self.late += late
        self.stale += stale

    def bad(self, reason: str, topic: str | None = None) -> None:
        """Count one record that went to the dead letters."""
        del topic
        self.bad_by_reason[reason] += 1

    def refused(self, listens: int) -> None:
        """Count listens from before their user's erasure."""
        self.refused_listens += listens

    def erased(self, users: int) -> None:
        """Count users whose data an erasure request took."""
        self.erased_users += users

    def forgotten(self, users: int) -> None:
        """Count erased users whose watermarks went, too."""
        self.forgotten_users += users

    def batch(self, seconds: float, records: int) -> None:
        """Count one batch of one partition."""
        self.batches += 1
        self.batch_records += records
        self.batch_seconds += seconds

    def restored(self, records: int) -> None:
        """Count changelog records that were read to rebuild tables."""
        self.restored_records += records

    def rebuilt(self, reason: str) -> None:
        """Count one table that is rebuilt from the start of its changelog, though there was a local one."""
        self.rebuilt_by_reason[reason] += 1

    def stray(self, records: int) -> None:
        """Count records of a lane that Faust's own consumer fetched and that were dropped there."""
        self.stray_records += records
