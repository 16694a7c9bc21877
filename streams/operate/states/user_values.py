"""What the changelog holds of a few users: their states and blocks by partition, of records in offset order. No I/O."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from sidestream.models.history import keeps_erased, split_block_key


@dataclass(slots=True)
class _Values:
    state: bytes | None = None
    blocks: dict[int, bytes] = field(default_factory=dict)


class UserValues:
    """Last values of some users.

    Args:
        users: Their keys; records of others are skipped.
    """

    def __init__(self, users: Collection[bytes]) -> None:
        self._users = frozenset(users)
        self._values: dict[tuple[bytes, int], _Values] = {}

    def read(self, partition: int, records: Iterable[Any]) -> None:
        """Take the records of one partition."""
        for record in records:
            key = record.key
            if key in self._users:
                self._of(key, partition).state = record.value
            elif key and (split := split_block_key(key)) is not None and split[0] in self._users:
                blocks = self._of(split[0], partition).blocks
                if record.value is None:
                    blocks.pop(split[1], None)
                else:
                    blocks[split[1]] = record.value

    def partitions(self, user: bytes) -> list[int]:
        """Return the partitions that hold a state or a block of a user now."""
        found = (partition for (key, partition), values in self._values.items() if key == user and _is_there(values))
        return sorted(found)

    def is_erased(self, user: bytes, partition: int, at: int) -> bool:
        """Return whether an erasure was applied to what a partition holds of a user; False if it holds nothing."""
        values = self._values.get((user, partition))
        return values is not None and values.state is not None and not self.keeps(user, partition, at)

    def keeps(self, user: bytes, partition: int, at: int) -> bool:
        """Return whether a partition still holds what an erasure up to a time removes."""
        values = self._values.get((user, partition))
        return values is not None and keeps_erased(values.state, values.blocks.values(), at)

    def _of(self, user: bytes, partition: int) -> _Values:
        return self._values.setdefault((user, partition), _Values())


def _is_there(values: _Values) -> bool:
    return values.state is not None or bool(values.blocks)
