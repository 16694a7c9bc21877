"""What a compacted topic says: the last value of each key."""

from collections.abc import Iterable
from typing import Any


def keep_last(records: Iterable[Any], values: dict[bytes, bytes]) -> None:
    """Apply records to the last values of their keys.

    Args:
        records: In offset order.
        values: By key, changed in place; a record without a value (a tombstone) removes its key.
    """
    for record in records:
        if record.value is None:
            values.pop(record.key, None)
        else:
            values[record.key] = record.value
