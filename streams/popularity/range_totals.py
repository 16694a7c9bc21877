"""Totals of one range of item keys: the sum of the changes of all partitions of the listens. No I/O, no clock.

Each published total contains the offset up to which it counts, so the totals can be resumed from any older position of
the changes: a change before a part's offset is contained in it, the others are applied.

Changes and totals that are dated ahead of the clock of who published them are refused (`ahead`): one would outweigh all
others, which would be dropped for good.

Items that weigh less than a listen of ten half-lives ago are dropped when their part is published; otherwise every item
ever listened to would be published forever.
"""

from collections.abc import Mapping

import numpy as np

from sidestream.streams.popularity.values import NUM_PARTS, PART_SHIFT, CountedPart, split_by_part, total_key
from sidestream.tokenizer.popularity import Counts, Decay, merge_counts

LEAST_WEIGHT = 2.0**-10
# Items in changes that are not merged yet, a thousand changes of two hundred items: merging takes 30 ms and 16 MB.
MAX_WAITING = 200_000


class RangeTotals:
    """Totals of one partition of the changes.

    Args:
        decay: Decay of the weights.
        totals: Published totals by part.
        next_offset: First offset of the changes that `add` brings.
        latest_at: Time of the latest listen that the totals may contain, UTC epoch ms; None for no bound. Parts with
            later ones are empty, and published so.
    """

    def __init__(
        self, decay: Decay, totals: Mapping[int, CountedPart], next_offset: int, latest_at: int | None = None
    ) -> None:
        self._decay = decay
        self.next_offset = self._published_to = next_offset
        self._totals = {part: found.counts for part, found in totals.items()}
        self._changed = {part for part, counts in self._totals.items() if self._is_ahead(counts, latest_at)}
        self._totals |= dict.fromkeys(self._changed, Counts.empty())
        self._landmark = max((counts.landmark for counts in self._totals.values()), default=0)
        self._contained = np.zeros(NUM_PARTS, dtype=np.int64)
        for part, found in totals.items():
            self._contained[part] = found.offset
        self._contained_to = int(self._contained.max())
        self._waiting: list[Counts] = []
        self._num_waiting = 0

    @property
    def has_changes(self) -> bool:
        """Return whether anything was read since the totals were published, or a part must be replaced."""
        return self.next_offset != self._published_to or bool(self._changed)

    @property
    def is_full(self) -> bool:
        """Return whether the changes should be merged before more are added."""
        return self._num_waiting >= MAX_WAITING

    def add(self, offset: int, changes: Counts, latest_at: int | None = None) -> bool:
        """Add one record of changes.

        Args:
            offset: Its offset.
            changes: Its counts.
            latest_at: Time of the latest listen that it may contain, UTC epoch ms; None for no bound.

        Returns:
            Whether it was added; not if it contains later listens.
        """
        self.next_offset = offset + 1
        if self._is_ahead(changes, latest_at):
            return False
        if offset < self._contained_to:
            new = self._contained[(changes.keys >> np.uint64(PART_SHIFT)).astype(np.intp)] <= offset
            changes = Counts(changes.landmark, changes.keys[new], changes.weights[new])
        if changes.keys.size:
            self._waiting.append(changes)
            self._num_waiting += changes.keys.size
        return True

    def merge(self) -> None:
        """Merge the added changes into the totals; may run in a thread while nothing else is called."""
        changes = merge_counts(self._waiting)
        self._waiting, self._num_waiting = [], 0
        self._landmark = max(self._landmark, changes.landmark)
        for part, some in split_by_part(changes):
            self._totals[part] = merge_counts([self._totals.get(part, Counts.empty()), some])
            self._changed.add(part)

    def publish(self) -> dict[bytes, bytes]:
        """Return the totals of all changed parts by key, and mark them as published; may run in a thread, too."""
        self.merge()
        records = {total_key(part): self._publish(part) for part in sorted(self._changed)}
        self._changed.clear()
        self._published_to = self.next_offset
        return records

    def _is_ahead(self, counts: Counts, latest_at: int | None) -> bool:
        return latest_at is not None and counts.keys.size > 0 and self._decay.at(counts.landmark) > latest_at

    def _publish(self, part: int) -> bytes:
        self._totals[part] = self._totals[part].without_below(LEAST_WEIGHT, self._landmark)
        return CountedPart(self._decay.half_life_ms, self.next_offset, self._totals[part]).to_bytes()
