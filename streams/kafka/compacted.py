"""State of a compacted topic: the last value of each key."""

from collections.abc import Iterable
from typing import Any


def keep_last(records: Iterable[Any], values: dict[bytes, bytes]) -> None:
    """Update a mapping of last values with records.

    Args:
        records: In offset order.
        values: Last value by key, changed in place; a tombstone removes its key.
    """
    for record in records:
        if record.value is None:
            values.pop(record.key, None)
        else:
            values[record.key] = record.value
