"""How far long work on a log folder is, reported to whoever shows it."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Progress = Callable[[str, int, int], None]
"""Called with a stage, rows of it that are done, and rows in all (0 where that is not known)."""

# Often enough for a line that is redrawn ten times a second, at 100,000 rows a second and less.
EVERY_ROWS = 5_000
Row = TypeVar("Row")


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Drop the report, where nothing shows it."""
    del stage, done, total


def counted(rows: Iterable[Row], stage: str, total: int, on_progress: Progress) -> Iterator[Row]:
    """Report how far a loop over rows is: at its beginning, now and then, and at its end.

    Args:
        rows: What is gone through.
        stage: What is done with them.
        total: How many there are; 0 where that is not known.
        on_progress: Called with it.

    Yields:
        The rows.
    """
    on_progress(stage, 0, total)
    done = 0
    for row in rows:
        yield row
        done += 1
        if done % EVERY_ROWS == 0:
            on_progress(stage, done, total)
    on_progress(stage, done, total)
