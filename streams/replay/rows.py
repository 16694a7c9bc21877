"""Transformations of rows before they are published: shifted times, and session-starts after held-out listens."""

import msgspec

from sidestream.models.data import LogRow
from sidestream.models.records import SessionStart

TIME_FIELDS = ("at", "published_at", "expires_at")


def shifted(row: LogRow, shift_ms: int) -> LogRow:
    """Shift all times of a row.

    Args:
        row: A row of the merged log.
        shift_ms: Added to `at`, `published_at` and `expires_at`.

    Returns:
        The row itself for a shift of 0; else one with shifted `value` and `at` (its `record` is unchanged).
    """
    if shift_ms == 0:
        return row
    if row.value is None:
        return row._replace(at=row.at + shift_ms)
    fields = msgspec.json.decode(row.value)
    for name in TIME_FIELDS:
        if fields.get(name) is not None:
            fields[name] += shift_ms
    return row._replace(at=row.at + shift_ms, value=msgspec.json.encode(fields))


def session_after(row: LogRow) -> LogRow:
    """Make a session-start a millisecond after a listen.

    Args:
        row: A listen.

    Returns:
        A row of the topic `sessions`; it is in no file, and its line is that of the listen.
    """
    start = SessionStart(session_id=f"after-{row.line}-{row.key}"[:256], user_id=row.key, at=row.at + 1)
    return row._replace(at=start.at, topic="sessions", value=start.to_json(), record=start)
