"""Progress of long work: a bar on a terminal, a line per stage elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sidestream.streams.cli.output import console, say

# Stage, units done, units in all, note.
Steps = Callable[[str, int, int, str], None]


@contextmanager
def progress_bar() -> Iterator[Steps]:
    """Show progress: a bar on a terminal, a line per stage elsewhere.

    Yields:
        Call it with stage, units done, units in all, and a note.
    """
    if not console.is_terminal:
        said: set[tuple[str, str]] = set()

        def tell(stage: str, done: int, total: int, note: str) -> None:
            if (stage, note) not in said:
                said.add((stage, note))
                say(f"{stage} {done:,}/{total:,} {note}" if note else f"{stage} …")

        yield tell
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f}"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=console) as bar:
        tasks: dict[str, Any] = {}

        def draw(stage: str, done: int, total: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note="")
            bar.update(tasks[stage], completed=done, total=total)
            if note:
                bar.update(tasks[stage], note=note)

        yield draw
        for task in tasks.values():
            bar.update(task, completed=bar.tasks[task].total)
