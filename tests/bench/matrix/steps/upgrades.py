"""A rolling upgrade: workers of the release before are replaced one by one, while listens flow."""

import asyncio
import signal
import time

from tests.bench.matrix.cell import NAMES, Cell
from tests.bench.matrix.schedule import Step
from tests.bench.matrix.steps.groups import join


async def upgrade(cell: Cell, step: Step) -> None:
    """Run two workers of the release before, then replace one after the other; a step for each way that they end.

    Their topics are made by their release, and states, tables and counts are in its form.
    """
    for name in NAMES:
        if name not in cell.alive:
            await join(cell, name, "kept")

    async def has_older_form() -> bool:
        await cell.judge.read_counts({})
        return cell.judge.counts.num_older > 0

    await cell.until(has_older_form, "the release before has published counts")
    await asyncio.sleep(step.after_s)
    old, cell.old = cell.old, set()
    await cell.create_topics()
    cell.old = old
    how = signal.SIGKILL if step.point == "SIGKILL" else signal.SIGTERM
    for name in NAMES if step.choice < 0.5 else reversed(NAMES):
        await cell.end(name, how)
        await cell.judge_tables(name)
        cell.old.discard(name)
        await join(cell, name, step.table)
        await asyncio.sleep(step.after_s)
    await cell.taken_over(time.monotonic())
    cell.tally.upgrades[step.point] += 1
