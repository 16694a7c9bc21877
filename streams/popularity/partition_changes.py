"""What one partition of the listens has counted and not published: a pure fold of its log. No I/O.

Pure but for listens that are dated ahead of the clock (`ahead`), which are not counted.

Everything counted since the mark is published at once, in one transaction with the next mark: a source offset, all
listens before which are published. After a crash at any point, counting resumes at the mark.

An assignment begins with two gaps: from the mark to the position of the lane (what was folded, but not published),
which is counted again in the background, and from the position on. The two are kept apart until the first is closed,
because a mark must not pass over listens that are not counted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sidestream.models.data.rows import ListenRow
from sidestream.streams.listens.durable.writer import DerivedRecord
from sidestream.streams.popularity.ahead import AheadGuard
from sidestream.streams.popularity.listen_counts import ListenCounts
from sidestream.streams.popularity.values import (
    NUM_PARTS,
    PART_SHIFT,
    CountedPart,
    changes_key,
    part_key,
    split_by_range,
)
from sidestream.tokenizer.popularity import Counts, Decay
from sidestream.tokenizer.sid import remembered_item_key

Listens = Sequence[tuple[int, ListenRow]]


@dataclass(frozen=True, slots=True)
class CountTopics:
    """Where counts are published: marks by partition of the listens, and changes by range of item keys."""

    marks: str
    num_partitions: int
    changes: str
    num_ranges: int


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of a partition.

    Attributes:
        mark: Source offset up to which all listens are published; None if there is none.
        parts: Counts in the older form, by part; to be carried over.
    """

    mark: int | None = None
    parts: Mapping[int, CountedPart] = field(default_factory=dict)


class PartitionChanges:
    """Unpublished counts of one partition.

    Args:
        partition: Partition of the listens.
        decay: Decay of the weights.
        topics: Where to publish.
        published: What was published before.
        position: First source offset that `add` brings.
        guard: Leaves out listens that are dated ahead; None counts all.
    """

    def __init__(
        self,
        partition: int,
        decay: Decay,
        topics: CountTopics,
        published: Published,
        position: int,
        guard: AheadGuard | None = None,
    ) -> None:
        self._partition, self._decay, self._topics, self._guard = partition, decay, topics, guard
        self._marked = published.mark
        mark = published.mark
        if mark is None:
            mark = 0 if published.parts else position
        self._next_offset = mark
        self._position = self._added_to = position
        self._counts, self._added = ListenCounts(decay, guard), ListenCounts(decay, guard)
        # Parts in the older form may be ahead of the mark.
        self._contained = np.full(NUM_PARTS, mark, dtype=np.int64)
        for part, counted in published.parts.items():
            self._contained[part] = max(mark, counted.offset)
        self._contained_to = int(self._contained.max())
        self._counts.merge([part.counts for part in published.parts.values()])
        self._to_remove = [part_key(partition, part) for part in published.parts]
        self._in_flight_to: int | None = None

    @property
    def next_offset(self) -> int:
        """First source offset that is not counted, or not yet again."""
        return self._next_offset

    @property
    def is_caught_up(self) -> bool:
        """Whether all listens before the position are counted."""
        return self._next_offset >= self._position

    @property
    def behind(self) -> int:
        """Number of source offsets that are still to be counted again."""
        return max(0, self._position - self._next_offset)

    @property
    def num_unpublished(self) -> int:
        """Number of listens that are counted and not published."""
        return self._counts.num_listens + self._added.num_listens

    def add(self, by_user: Iterable[Listens], next_offset: int) -> None:
        """Count the listens of one durable batch.

        Args:
            by_user: Source offsets and listens, without malformed records.
            next_offset: Source offset after the batch.
        """
        start, self._added_to = self._added_to, next_offset
        if self.is_caught_up:
            self._count(self._counts, by_user, start)
            self._next_offset = max(self._next_offset, next_offset)
        else:
            self._count(self._added, by_user, start)

    def recount(self, listens: Listens, next_offset: int) -> None:
        """Count listens from before the position, in the order of the log.

        Args:
            listens: Source offsets and listens, without malformed records.
            next_offset: Source offset after them, at most the position.
        """
        self._count(self._counts, [listens], self._next_offset)
        self._next_offset = next_offset
        if self.is_caught_up:
            self._counts.merge([self._added.sums()], self._added.num_listens)
            self._added = ListenCounts(self._decay, self._guard)
            self._next_offset = self._added_to

    def take(self) -> Sequence[DerivedRecord]:
        """Return all that can be published, the mark last, and mark it as in flight.

        Returns:
            Records; empty if there is nothing new, or while records are in flight. Those of a publication that failed
            are never returned again, because they may be durable: the next owner resumes at the mark that it finds.
        """
        has_changes = self._marked != self._next_offset or bool(self._to_remove)
        if self._in_flight_to is not None or not has_changes or self._next_offset < self._contained_to:
            return ()
        counts, self._counts = self._counts.sums(), ListenCounts(self._decay, self._guard)
        self._in_flight_to = self._next_offset
        marks, changes = self._topics.marks, self._topics.changes
        return [
            *(
                DerivedRecord(changes, number, changes_key(self._partition), self._value(some))
                for number, some in split_by_range(counts, self._topics.num_ranges)
            ),
            *(DerivedRecord(marks, self._partition, key, None) for key in self._to_remove),
            DerivedRecord(marks, self._partition, part_key(self._partition, None), self._value(Counts.empty())),
        ]

    def published(self) -> None:
        """Note that the records returned last are durable."""
        self._marked, self._in_flight_to, self._to_remove = self._in_flight_to, None, []

    def _count(self, counts: ListenCounts, by_user: Iterable[Collection[tuple[int, ListenRow]]], start: int) -> None:
        if start < self._contained_to:
            by_user = [[(o, listen) for o, listen in some if not self._is_contained(o, listen)] for some in by_user]
        counts.add([listen for some in by_user for _, listen in some])

    def _is_contained(self, offset: int, listen: ListenRow) -> bool:
        return bool(offset < self._contained[remembered_item_key(listen.item_id) >> PART_SHIFT])

    def _value(self, counts: Counts) -> bytes:
        return CountedPart(self._decay.half_life_ms, self._next_offset, counts).to_bytes()
