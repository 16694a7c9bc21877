"""What the log makes of the counts, and what workers published: equal once all listens are published and added up.

Every listen counts once, whoever was killed or replaced before or after it was published; an erasure takes nothing from
sums that name nobody. Weights are exact (`sidestream.tokenizer.popularity.counts`), so they are compared as they are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sidestream.models.data.rows import ListenRow
from sidestream.models.records.signals import is_positive
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.popularity.values import NUM_PARTS, CountedPart, first_part, read_key, read_part, read_total_key
from sidestream.tokenizer.popularity import Counts, merge_counts
from sidestream.tokenizer.sid import item_key

DECAY = PopularitySettings().decay


class CountsJudge:
    """The counts of one cell.

    Args:
        num_ranges: Number of partitions of the totals.

    Attributes:
        marks: By partition, the offset before which all listens are published.
        num_older: Counts in the older form that were published.
    """

    def __init__(self, num_ranges: int) -> None:
        self._num_ranges = num_ranges
        self._heard: dict[int, Counter[int]] = defaultdict(Counter)
        self.marks: dict[int, int] = {}
        self.num_older = 0
        self._older: dict[int, set[int]] = defaultdict(set)
        self._totals: dict[int, CountedPart] = {}

    def hear(self, listen: ListenRow) -> None:
        """Count a listen of the log."""
        if is_positive(listen.signal):
            self._heard[listen.at // DECAY.step_ms][item_key(listen.item_id)] += 1

    def see_marks(self, records: Iterable[Any]) -> None:
        """Take the marks that were published since the last time."""
        for record in records:
            partition, part = read_key(record.key)
            if partition != record.partition:
                raise ValueError(f"{record.key!r} in partition {record.partition}: expected the mark of this partition")
            if part is None:
                self.marks[partition] = read_part(record.value).offset
            # Counts in the older form: left behind, a worker that carries them over has removed them.
            elif record.value is None:
                self._older[partition].discard(part)
            else:
                self._older[partition].add(part)
                self.num_older += 1

    def see_totals(self, records: Iterable[Any]) -> None:
        """Take the totals that were published since the last time."""
        for record in records:
            part = read_total_key(record.key)
            if (
                not first_part(record.partition, self._num_ranges)
                <= part
                < first_part(record.partition + 1, self._num_ranges)
            ):
                raise ValueError(f"total of part {part} of {NUM_PARTS} in partition {record.partition}")
            self._totals[part] = read_part(record.value)

    def is_whole(self, ends: Mapping[int, int]) -> bool:
        """Tell whether workers say that they published all listens up to these ends of the log."""
        return not any(self._older.values()) and all(
            self.marks.get(partition, 0) >= end for partition, end in ends.items()
        )

    def expected(self) -> Counts:
        """Count the listens read so far."""
        steps = []
        for step, items in self._heard.items():
            keys = np.fromiter(items, dtype=np.uint64, count=len(items))
            steps.append(Counts.from_step(step, keys, np.fromiter(items.values(), dtype=np.int64, count=len(items))))
        return merge_counts(steps)

    def published(self) -> Counts:
        """Merge the totals."""
        return merge_counts([total.counts for total in self._totals.values()])

    def wrong(self, may_repeat: bool = False) -> tuple[int, list[str]]:
        """Compare all items; returns how many, and those that differ.

        Args:
            may_repeat: Whether listens may count twice: without transactions, where a worker is killed as it publishes.
        """
        counts = (self.published(), self.expected())
        landmark = max(some.landmark for some in counts)
        got, wanted = (dict(zip(some.keys.tolist(), some.scaled_to(landmark).tolist(), strict=True)) for some in counts)
        found = [
            f"counts: item {key:016x} {got.get(key)}, not {wanted.get(key)}"
            for key in sorted(got.keys() | wanted.keys())
            if got.get(key) != wanted.get(key) and not (may_repeat and got.get(key, 0.0) > wanted.get(key, 0.0) > 0.0)
        ]
        return len(wanted), found
