"""Databases that cannot continue from their changelog offset, and are rebuilt from the changelog's start."""

import logging

from sidestream.streams.listens.table.meta import Positions
from sidestream.streams.listens.table.partition import PartitionTable

logger = logging.getLogger(__name__)


def rebuild_reason(table: PartitionTable, begin: int, end: int, removals_kept_ms: int | None) -> str | None:
    """Check a database's offset against its changelog.

    Args:
        table: The database.
        begin: First offset of the changelog.
        end: Its end.
        removals_kept_ms: Minimum retention of tombstones; None to skip the check of the database's age.

    Returns:
        The reason (one word) why it cannot continue from its offset; None if it can.
    """
    next_offset, age_ms = table.positions.changelog_offset + 1, table.age_ms()
    if next_offset == 0:
        return None
    if next_offset > end:
        return "ahead"
    if next_offset < begin:
        return "behind"
    # Without new records there were no tombstones either.
    is_old = removals_kept_ms is not None and age_ms is not None and age_ms >= removals_kept_ms
    return "old" if is_old and next_offset < end else None


def reset(table: PartitionTable, reason: str, begin: int, end: int) -> None:
    """Clear a database so that it is rebuilt; blocking.

    Args:
        table: The database.
        reason: Word of `rebuild_reason`.
        begin: First offset of the changelog.
        end: Its end.
    """
    age_ms = table.age_ms()
    logger.warning(
        "user-state table %s holds changelog offset %d, last complete %s, the changelog has %d to %d (%s): "
        "rebuilding it from the changelog",
        table.path,
        table.positions.changelog_offset,
        "at an unknown time" if age_ms is None else f"{age_ms / 3_600_000:.1f} h ago",
        begin,
        end,
        reason,
    )
    table.clear()
    table.write({}, Positions())
