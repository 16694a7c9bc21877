"""State of a compacted topic: the last value of each key."""

from collections.abc import Iterable
from typing import Any

from sidestream.streams.contracts.unreadable import Unreadable


def keep_last(records: Iterable[Any], values: dict[bytes, bytes]) -> None:
    """Update a mapping of last values with records.

    Args:
        records: In offset order; unreadable ones are skipped, the consumer has logged them.
        values: Last value by key, changed in place; a tombstone removes its key.
    """
    for record in records:
        if record.value is None:
            values.pop(record.key, None)
        elif record.value or not isinstance(record.value, Unreadable):
            values[record.key] = record.value
