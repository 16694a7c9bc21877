"""What the log makes of `item-counts.v1`, and what workers published there: equal once all listens are published.

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
from sidestream.streams.popularity.values import CountedPart, read_key, read_part
from sidestream.tokenizer.popularity import Counts, merge_counts
from sidestream.tokenizer.sid import item_key

DECAY = PopularitySettings().decay


class CountsJudge:
    """The counts of one cell, by partition of the listens."""

    def __init__(self) -> None:
        self._heard: dict[int, dict[int, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
        self._parts: dict[int, dict[int | None, CountedPart]] = defaultdict(dict)

    def hear(self, partition: int, listen: ListenRow) -> None:
        """Count a listen of the log."""
        if is_positive(listen.signal):
            self._heard[partition][listen.at // DECAY.step_ms][item_key(listen.item_id)] += 1

    def see(self, records: Iterable[Any]) -> None:
        """Take what was published since the last time."""
        for record in records:
            partition, part = read_key(record.key)
            if partition != record.partition:
                raise ValueError(f"counts of {partition} in partition {record.partition}")
            self._parts[partition][part] = read_part(record.value)

    def is_whole(self, ends: Mapping[int, int]) -> bool:
        """Tell whether workers say that they published all listens up to these ends of the log."""
        marks = {partition: parts[None].offset for partition, parts in self._parts.items() if None in parts}
        return all(marks.get(partition, 0) >= end for partition, end in ends.items())

    def expected(self, partition: int) -> Counts:
        """Count the listens of a partition read so far."""
        steps = []
        for step, items in self._heard[partition].items():
            keys = np.fromiter(items, dtype=np.uint64, count=len(items))
            steps.append(Counts.from_step(step, keys, np.fromiter(items.values(), dtype=np.int64, count=len(items))))
        return merge_counts(steps)

    def published(self, partition: int) -> Counts:
        """Merge what is published of a partition."""
        return merge_counts([counted.counts for part, counted in self._parts[partition].items() if part is not None])

    def wrong(self) -> tuple[int, list[str]]:
        """Compare all items of all partitions; returns how many, and those that differ."""
        compared, found = 0, []
        for partition in sorted(self._heard.keys() | self._parts.keys()):
            counts = (self.published(partition), self.expected(partition))
            landmark = max(some.landmark for some in counts)
            got, wanted = (
                dict(zip(some.keys.tolist(), some.scaled_to(landmark).tolist(), strict=True)) for some in counts
            )
            compared += len(wanted)
            for key in sorted(got.keys() | wanted.keys()):
                if got.get(key) != wanted.get(key):
                    found.append(f"counts/{partition}: item {key:016x} {got.get(key)}, not {wanted.get(key)}")
        return compared, found
