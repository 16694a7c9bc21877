"""The newest session-starts of partitions that cannot be answered yet: `Held`.

Behind a restore of a minute thousands wait, of which the newest are those whose listeners are still there. They are
kept in memory, so that their answers begin without another request to Kafka. The others are read once more.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Held:
    """Session-starts that were fetched and not begun, by partition.

    Args:
        most: How many are kept of a partition.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: dict[int, list[Any]] = {}
        self._firsts: dict[int, int] = {}

    def __iter__(self) -> Iterator[int]:
        """Return the partitions that have any."""
        return iter(self._records)

    def __len__(self) -> int:
        """Return the number of partitions that have any."""
        return len(self._records)

    def first(self, partition: int) -> int | None:
        """Return the offset of the first one that was added since the partition was taken; None without any."""
        return self._firsts.get(partition)

    def add(self, partition: int, records: Iterable[Any]) -> None:
        """Hold more, of which only the newest are kept.

        Args:
            partition: Partition number.
            records: Kafka records in offset order, after those that were added before.
        """
        held = [*self._records.get(partition, ()), *records]
        if held:
            self._firsts.setdefault(partition, held[0].offset)
            self._records[partition] = held[-self._most :]

    def take(self, partition: int) -> tuple[range, list[Any]]:
        """Take those of a partition.

        Args:
            partition: Partition number, of those that have any.

        Returns:
            Offsets of those that were not kept, and the others.
        """
        records, first = self._records.pop(partition), self._firsts.pop(partition)
        return range(first, records[0].offset), records

    def take_open(self, is_blocked: Callable[[int], bool]) -> dict[int, tuple[range, list[Any]]]:
        """Take those of all partitions that are no longer blocked."""
        return {partition: self.take(partition) for partition in list(self) if not is_blocked(partition)}

    def drop(self, partition: int) -> None:
        """Forget a partition: it is read again, or not at all."""
        self._records.pop(partition, None)
        self._firsts.pop(partition, None)

    def clear(self) -> None:
        """Forget all."""
        self._records.clear()
        self._firsts.clear()
